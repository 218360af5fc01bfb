"""The pictures of a run directory, one a file."""
