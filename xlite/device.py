"""Where a run computes and in what arithmetic."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from xlite.data.input_spec import InputSpec
from xlite.errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`: free bytes at the heap's end, and bytes of a block, from which they go back to the system."""


@dataclass(frozen=True)
class Device:
    """A torch device with the arithmetic that goes with it.

    Attributes:
        torch_device: the torch device that tensors live on.
        autocast_dtype: torch.bfloat16 or None (float32 throughout).
    """

    torch_device: torch.device
    autocast_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Context for the forward pass."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast_dtype)

    @property
    def on_gpu(self) -> bool:
        """Whether this is a CUDA device."""
        return self.torch_device.type == "cuda"

    def move(self, module: nn.Module) -> nn.Module:
        """The module on this device, its kernels channels last (NHWC): faster on both kinds of device.

        On a CPU a training step at 224 px is 1.5 to 1.8 times as fast for MobileNetV3, whose depthwise gradients are
        slow else; for ResNet it makes no difference (benchmarks/layout.py).
        """
        return module.to(self.torch_device).to(memory_format=torch.channels_last)

    def put(self, array: np.ndarray) -> Tensor:
        """The array on this device; on a GPU through pinned memory, so that the copy waits for no step."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self.torch_device, non_blocking=True) if self.on_gpu else tensor

    def inputs(
        self, spec: InputSpec, pixels: np.ndarray, auxiliary: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A batch (B, *spec.shape) as models take it, and its auxiliary integers (B, E) where there are any."""
        return self.put(pixels).permute(spec.model_axes), None if auxiliary is None else self.put(auxiliary)

    def random_state(self) -> Tensor:
        """Of the generator that dropout on this device draws from."""
        return torch.cuda.get_rng_state(self.torch_device) if self.on_gpu else torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        """Go back to `random_state`."""
        if self.on_gpu:
            torch.cuda.set_rng_state(state, self.torch_device)
        else:
            torch.set_rng_state(state)

    @property
    def name(self) -> str:
        """Human name, e.g. "NVIDIA H100 80GB HBM3" or "cpu"."""
        return torch.cuda.get_device_name(self.torch_device) if self.on_gpu else "cpu"


def device_kind() -> Literal["cpu", "cuda"]:
    """The kind of device this process would use."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_device(precision: str = "auto", *, kind: str | None = None) -> Device:
    """The device for a run.

    Args:
        precision: "auto" takes bf16 where the GPU has it and float32 elsewhere; "fp32"; "bf16".
        kind: "cpu" or "cuda"; None takes a GPU where there is one.

    Raises:
        InputError: bf16 asked for on a GPU that has none.
    """
    kind = kind or device_kind()
    on_gpu = kind == "cuda"
    has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise InputError("train.precision=bf16: this GPU has no bf16; use train.precision=fp32")
    use_bf16 = precision == "bf16" or (precision == "auto" and on_gpu and has_bf16)
    return Device(torch.device(kind), torch.bfloat16 if use_bf16 else None)


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """So many threads for one operation of PyTorch on the CPU, here and in threads that begin meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next one; `release_memory` gives it back.

    glibc hands larger blocks back to the system at once and asks for them again, page fault by page fault: thousands a
    step. Another C library's own ways must do.
    """
    if tune := getattr(ctypes.CDLL(None), "mallopt", None):
        for largest in (2**30, 2**25):  # 32 MiB is the most that an older glibc takes
            if tune(M_MMAP_THRESHOLD, largest):
                break
        tune(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Give back what is not used any more: cycles of objects, the C heap's free pages, the GPU allocator's cache.

    The heap keeps freed pages where smaller blocks between them are still in use; after many trials of different sizes
    that is some percent of a process. Where the C library is not glibc, its own ways must do.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
