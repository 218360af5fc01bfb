"""Data sets as uint8 tensors in memory, and batches made from them on the device."""
