"""The device and arithmetic of a run, the memory that its process keeps, and the errors of a GPU."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from xlite.data.input_spec import InputSpec
from xlite.errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`: from how many bytes free memory at the heap's end, or a block, is returned to the
system."""
_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
    "CUDA out of memory",
    "unable to find an engine to execute",  # of a convolution: PyTorch passes over each that gets no workspace
)
_FAULT = ("CUDA error:", "CUDA driver error:", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error")


@dataclass(frozen=True)
class Device:
    """A torch device and its arithmetic.

    Attributes:
        torch_device: where tensors live.
        autocast_dtype: torch.bfloat16 or None (float32 throughout).
    """

    torch_device: torch.device
    autocast_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Context for the forward pass: autocast, or none for float32."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast_dtype)

    @property
    def on_gpu(self) -> bool:
        """Whether this is a CUDA device."""
        return self.torch_device.type == "cuda"

    def move(self, module: nn.Module) -> nn.Module:
        """The module on this device with channels-last (NHWC) kernels, which are faster on CPU and GPU.

        On a CPU MobileNetV3 trains 1.5 to 1.8 times as fast at 224 px, as its depthwise gradients are slow otherwise;
        for ResNet it makes no difference (benchmarks/layout.py).
        """
        return module.to(self.torch_device).to(memory_format=torch.channels_last)

    def put(self, array: np.ndarray) -> Tensor:
        """The array on this device; to a GPU through pinned memory, so that the copy is asynchronous."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self.torch_device, non_blocking=True) if self.on_gpu else tensor

    def inputs(
        self, spec: InputSpec, pixels: np.ndarray, auxiliary: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """A batch (B, *spec.shape) as models take it, and its auxiliary integers (B, E), if any."""
        return self.put(pixels).permute(spec.model_axes), None if auxiliary is None else self.put(auxiliary)

    def random_state(self) -> Tensor:
        """State of the generator that dropout on this device draws from."""
        return torch.cuda.get_rng_state(self.torch_device) if self.on_gpu else torch.get_rng_state()

    def set_random_state(self, state: Tensor) -> None:
        """Restore what `random_state` returned."""
        if self.on_gpu:
            torch.cuda.set_rng_state(state, self.torch_device)
        else:
            torch.set_rng_state(state)

    @property
    def name(self) -> str:
        """E.g. "NVIDIA H100 80GB HBM3" or "cpu"."""
        return torch.cuda.get_device_name(self.torch_device) if self.on_gpu else "cpu"


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context in which arithmetic on `device` has its tensors' own precision, also within autocast.

    Nothing where autocast is off, so that an exported graph has no trace of it.
    """
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


@contextmanager
def no_tf32() -> Iterator[None]:
    """Context in which a GPU's float32 is float32; PyTorch lets cuDNN round factors to 11 significant bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@cache
def gpu_stream(purpose: Literal["copies", "recording"], device: torch.device) -> torch.cuda.Stream:
    """The stream that this process has for one purpose.

    PyTorch deals streams out of a pool of 32 in turn. With a new one for each trial, a worker would in the end copy
    batches on the very stream that it records a step on; and cuBLAS keeps up to 32 MiB for every stream it was used on.
    """
    return torch.cuda.Stream(device)


def device_kind() -> Literal["cpu", "cuda"]:
    """ "cuda" if PyTorch can use a GPU here, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_device(precision: str = "auto", *, kind: str | None = None) -> Device:
    """The device for a run.

    Args:
        precision: "auto" (bf16 on GPUs that support it, else float32), "fp32" or "bf16".
        kind: "cpu" or "cuda"; None: a GPU if there is one.

    Raises:
        InputError: bf16 on a GPU that does not support it.
    """
    kind = kind or device_kind()
    on_gpu = kind == "cuda"
    has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise InputError("train.precision=bf16: this GPU does not support bf16; use train.precision=fp32")
    use_bf16 = precision == "bf16" or (precision == "auto" and on_gpu and has_bf16)
    return Device(torch.device(kind), torch.bfloat16 if use_bf16 else None)


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Run PyTorch's CPU operations with `num_threads` threads within the context, also in threads started there."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Make the C library keep memory that a step frees for the next one; `release_memory` returns it to the system.

    By default glibc returns larger blocks at once and requests them again, at the cost of thousands of page faults a
    step. Without glibc this does nothing.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for largest in (2**30, 2**25):  # older versions of glibc accept at most 32 MiB
            if mallopt(M_MMAP_THRESHOLD, largest):
                break
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Free unused memory: reference cycles, free pages of the C heap (glibc only), the GPU allocator's cache.

    The heap keeps freed pages between blocks that are still in use: some percent of a process after many trials of
    different sizes.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether GPU memory ran out: of PyTorch's allocator, or of the driver or a library (e.g. at MPS's limit)."""
    return isinstance(error, torch.OutOfMemoryError) or _mentions(error, _OUT_OF_MEMORY)


def is_gpu_fault(error: BaseException) -> bool:
    """Whether the process's CUDA context is lost, so that the process must end."""
    return not is_out_of_memory(error) and _mentions(error, _FAULT)


def _mentions(error: BaseException, texts: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
