"""Wrappers over any training method: one file each."""
