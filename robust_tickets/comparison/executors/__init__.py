"""Ways to run the tasks of a comparison: here, in processes of their own, or on a cluster."""
