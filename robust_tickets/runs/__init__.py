"""Run directories: file names, whole-file writes, tensor files, locks, listing."""
