"""The number of usable CPU cores."""

import os


def available_cpus() -> int:
    """Cores this process may use; containers and batch systems often allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
