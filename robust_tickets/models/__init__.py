"""Networks by name, user networks, BatchNorm folding, FLOPs."""
