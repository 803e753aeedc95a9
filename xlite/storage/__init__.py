"""Atomic files, locks, memory-mapped arrays and tensor files on a local disk."""
