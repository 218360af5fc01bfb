"""Pruning methods, one file each; `robust_tickets.recipe.pruning_methods` registers them by name."""
