"""How many CPU cores there are to use."""

import os


def available_cpus() -> int:
    """Cores this process may use (containers and batch systems often give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
