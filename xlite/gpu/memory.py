"""A GPU's memory, and the fraction of it that one process may allocate."""

from dataclasses import dataclass

import torch

from xlite.device import release_memory
from xlite.errors import InputError

RESERVE_BYTES = 256 * 2**20
"""Left free on a GPU: the driver's own memory grows a little with every process."""


@dataclass(frozen=True)
class DeviceMemory:
    """One GPU.

    Attributes:
        total_bytes: as the driver reports it; PyTorch's memory fractions refer to this.
        usable_bytes: what all trials together may use; shares refer to this, since other processes (among them the
            study's own, with its CUDA context) hold some of the total.
    """

    total_bytes: int
    usable_bytes: int


def device_memory() -> DeviceMemory:
    """Memory of the GPU with the least free, after this process has released its cache."""
    release_memory()
    free, total = min(torch.cuda.mem_get_info(index) for index in range(torch.cuda.device_count()))
    return DeviceMemory(total, max(0, free - RESERVE_BYTES))


def memory_fraction(share: float, context_bytes: int, memory: DeviceMemory) -> float:
    """The fraction PyTorch's allocator may fill so that allocator and CUDA context together stay within `share`.

    Args:
        share: of the usable memory, 0 < share <= 1.
        context_bytes: of a training process: CUDA context, kernels, libraries, which the allocator does not count.

    Returns:
        Of the total memory, above 0 and below 1, for `torch.cuda.set_per_process_memory_fraction`.

    Raises:
        InputError: the context alone fills the share.
    """
    allocatable = share * memory.usable_bytes - context_bytes
    if allocatable <= 0:
        raise InputError(
            f"--gpus-per-trial {share:g}: a process's CUDA context takes {gib(context_bytes)} and this share of the "
            f"GPU is {gib(share * memory.usable_bytes)}; give trials a larger share"
        )
    return allocatable / memory.total_bytes


def gib(num_bytes: float) -> str:
    """e.g. "1.5 GiB"."""
    return f"{num_bytes / 2**30:.1f} GiB"
