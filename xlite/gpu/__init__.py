"""Sharing a GPU among trials: memory, probes, MPS, limits per process. Knows no Ray."""
