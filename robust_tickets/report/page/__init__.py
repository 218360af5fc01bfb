"""The report of run directories as one HTML page."""
