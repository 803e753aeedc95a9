"""Limits that hold a trial's process to its share of a GPU."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from xlite.gpu.memory import DeviceMemory, memory_fraction


@dataclass(frozen=True)
class Sharing:
    """How trials share a GPU.

    A share limits memory alone, and PyTorch's allocator alone holds it: with MPS's own limit beside it, both might be
    fractions of each other. Multiprocessors are not limited, since the last trials of a search are to have them all.

    Attributes:
        memory: of the GPU; shares are fractions of its usable memory.
        context_bytes: GPU memory of a process beyond PyTorch's allocator.
        environment: variables of MPS; empty where there is no MPS and processes take turns.
    """

    memory: DeviceMemory
    context_bytes: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def enter(self, share: float) -> None:
        """Take the GPU, and limit this process to `share` of it, 0 < share <= 1; call it before CUDA is first used.

        Raises:
            InputError: as `memory_fraction`.
            RuntimeError: PyTorch cannot use the GPU, and says why.
        """
        os.environ.update(self.environment)
        torch.cuda.init()
        if share < 1:
            fraction = memory_fraction(share, self.context_bytes, self.memory)
            torch.cuda.set_per_process_memory_fraction(fraction)  # beyond it PyTorch raises OutOfMemoryError
