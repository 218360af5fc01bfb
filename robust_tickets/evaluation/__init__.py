"""Robust accuracy: attacks by name, verdicts by sample, intervals and sanity checks."""
