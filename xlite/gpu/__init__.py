"""Sharing a GPU: memory, probes, MPS, limits of a process. Knows no Ray."""
