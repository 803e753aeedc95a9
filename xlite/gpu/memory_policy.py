"""What becomes of a trial that ran out of GPU memory, or was ended by a fault on its GPU: pure decisions."""

from dataclasses import dataclass, replace

import torch

from xlite.gpu.share_classes import next_class, shown_share

MAX_SHARED_FAULTS = 2
"""Faults a trial may meet beside others before it goes on alone, where a further one can only be its own."""

_OUT_OF_MEMORY = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED", "CUDA out of memory")
_FAULT = ("CUDA error:", "CUDA driver error:", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error")


@dataclass(frozen=True)
class Attempt:
    """How a trial is run, and how it came to that.

    Attributes:
        batch_size: `optim.batch_size`, the batch of an optimiser step; never changed here.
        share: of a GPU, above 0.
        accumulation: parts a batch is computed in, one after the other; 1 computes it at once.
        grown: whether the share was enlarged already.
        notes: what happened, for the trial's record.
    """

    batch_size: int
    share: float
    accumulation: int = 1
    grown: bool = False
    notes: tuple[str, ...] = ()

    @property
    def micro_batch(self) -> int:
        """Examples of the largest part."""
        return -(-self.batch_size // self.accumulation)


def after_out_of_memory(attempt: Attempt) -> Attempt | None:
    """The next attempt: once with the next larger share, then with 2, 4, ... parts of the batch.

    Returns:
        None when the parts were single examples already: the trial has failed.
    """
    where = f"ran out of memory at {_at(attempt)}"
    larger = None if attempt.grown else next_class(attempt.share)
    if larger is not None:
        note = f"{where}; went on at {_part(larger)}"
        return replace(attempt, share=larger, grown=True, notes=(*attempt.notes, note))
    if attempt.micro_batch == 1:
        return None
    parts = min(2 * attempt.accumulation, attempt.batch_size)
    after = replace(attempt, accumulation=parts)
    note = (
        f"{where}; went on with batches of {attempt.batch_size} computed as {parts} parts of up to {after.micro_batch} "
        "(batch normalisation sees the parts)"
    )
    return replace(after, notes=(*attempt.notes, note))


def after_shared_faults(attempt: Attempt, num_faults: int) -> Attempt:
    """The next attempt of a trial under which a GPU that others shared failed so many times: the GPU to itself.

    A fault ends all clients of one MPS server, and no client is told whose it was. So each goes on from its checkpoint,
    after `MAX_SHARED_FAULTS` alone; one that faults there is the culprit.
    """
    note = f"the GPU failed {num_faults} times under this trial and others; went on alone on it, from the checkpoint"
    return replace(attempt, share=1.0, notes=(*attempt.notes, note))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether GPU memory ran out: PyTorch's allocator at its fraction, or the driver or a library at MPS's limit."""
    return isinstance(error, torch.OutOfMemoryError) or _says(error, _OUT_OF_MEMORY)


def is_gpu_fault(error: BaseException) -> bool:
    """Whether the process's CUDA context is lost: nothing more can be computed in it, the process must end."""
    return not is_out_of_memory(error) and _says(error, _FAULT)


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def _part(share: float) -> str:
    return "the whole GPU" if share >= 1 else f"{shown_share(share)} of the GPU"


def _at(attempt: Attempt) -> str:
    parts = "" if attempt.accumulation == 1 else f" with {attempt.accumulation} parts a batch"
    return _part(attempt.share) + parts
