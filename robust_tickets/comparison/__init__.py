"""A comparison: arms times seeds as independent tasks, and what they would cost."""
