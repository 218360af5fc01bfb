"""Training methods, one file a family; `robust_tickets.recipe.methods` registers them by name."""
