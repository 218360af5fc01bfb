"""The training loop, its methods, schedules, monitors, precision and checkpoints."""
