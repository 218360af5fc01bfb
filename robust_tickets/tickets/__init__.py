"""Tickets: the file, the search, pruning methods, controls and inspection."""
