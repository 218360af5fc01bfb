"""robust-tickets: find boosting tickets, reuse them, and compare them honestly with dense training."""

__version__ = "0.1.0"
