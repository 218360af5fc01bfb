"""Tables and plots, made from run directories and nothing else."""
