"""Data sets as uint8 tensors in memory, and training batches from them."""
