"""Masks, scores, pruning criteria, channel groups and compaction."""
