"""A GPU's memory and one process's part of it."""

from dataclasses import dataclass

import torch

from xlite.device import release_memory
from xlite.errors import InputError

RESERVE_BYTES = 256 * 2**20
"""Left free on a GPU: the driver's own bookkeeping grows a little with every process."""


@dataclass(frozen=True)
class DeviceMemory:
    """One GPU.

    Attributes:
        total_bytes: as the driver tells it; PyTorch's fractions are of this.
        usable_bytes: what trials may have together; shares are of this, since other processes (the study's own driver
            is one, with its CUDA context) hold some of the total.
    """

    total_bytes: int
    usable_bytes: int


def device_memory() -> DeviceMemory:
    """The GPU with the least free memory, once this process has given back what it only caches."""
    release_memory()
    free, total = min(torch.cuda.mem_get_info(place) for place in range(torch.cuda.device_count()))
    return DeviceMemory(total, max(0, free - RESERVE_BYTES))


def memory_fraction(share: float, context_bytes: int, memory: DeviceMemory) -> float:
    """The fraction PyTorch's allocator may fill so that allocator and CUDA context together stay within `share`.

    Args:
        share: above 0, at most 1; of the usable memory.
        context_bytes: of a training process: CUDA context, kernels, libraries; the allocator does not count them.

    Returns:
        Above 0 and below 1, of the total memory, as `torch.cuda.set_per_process_memory_fraction` takes it.

    Raises:
        InputError: the context alone fills the share.
    """
    room = share * memory.usable_bytes - context_bytes
    if room <= 0:
        raise InputError(
            f"--gpus-per-trial {share:g}: a process's CUDA context takes {gib(context_bytes)} and this share of the "
            f"GPU is {gib(share * memory.usable_bytes)}; give trials a larger share"
        )
    return room / memory.total_bytes


def enforce_share(share: float, context_bytes: int, memory: DeviceMemory) -> None:
    """Hold this process to its share of the current GPU from now on; beyond it PyTorch raises OutOfMemoryError.

    Raises:
        InputError: as `memory_fraction`.
    """
    torch.cuda.set_per_process_memory_fraction(memory_fraction(share, context_bytes, memory))


def gib(num_bytes: float) -> str:
    """e.g. "1.5 GiB"."""
    return f"{num_bytes / 2**30:.1f} GiB"
