"""Studies: a question answered by a grid of comparisons."""
