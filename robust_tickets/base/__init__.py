"""Errors, ledger, progress, signals, machine, random streams; torch is imported at its first use."""
