"""Limits that hold a trial's process to its share of a GPU."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from xlite.gpu.memory import DeviceMemory, memory_fraction
from xlite.gpu.mps import client_environment


@dataclass(frozen=True)
class Sharing:
    """How trials share a GPU.

    Attributes:
        memory: of the GPU; shares are fractions of its usable memory.
        context_bytes: GPU memory of a process beyond PyTorch's allocator.
        environment: variables of MPS; empty where there is no MPS and processes take turns.
    """

    memory: DeviceMemory
    context_bytes: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def enter(self, share: float) -> None:
        """Limit this process to `share`, 0 < share <= 1; call it before the process first uses CUDA.

        Raises:
            InputError: as `client_environment` and `memory_fraction`.
        """
        if self.environment:
            os.environ.update({**self.environment, **client_environment(share, self.memory)})
        if share < 1:
            fraction = memory_fraction(share, self.context_bytes, self.memory)
            torch.cuda.set_per_process_memory_fraction(fraction)  # beyond it PyTorch raises OutOfMemoryError
