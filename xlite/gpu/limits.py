"""What a trial's process does to keep to its share of a GPU."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from xlite.gpu.memory import DeviceMemory, enforce_share
from xlite.gpu.mps import client_environment


@dataclass(frozen=True)
class Sharing:
    """How trials share a GPU.

    Attributes:
        memory: of the GPU, which shares are of.
        context_bytes: what a process takes beside what PyTorch allocates.
        environment: of MPS; empty where processes take turns.
    """

    memory: DeviceMemory
    context_bytes: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def enter(self, share: float) -> None:
        """Hold this process to its share; before it first uses CUDA."""
        if self.environment:
            os.environ.update({**self.environment, **client_environment(share, self.memory)})
        if share < 1:
            enforce_share(share, self.context_bytes, self.memory)
