"""How to retry a trial that ran out of GPU memory or whose GPU faulted: pure decisions."""

from dataclasses import dataclass, replace

from xlite.gpu.share_classes import next_class, shown_share
from xlite.train.retry import shown_split, split_further

MAX_SHARED_FAULTS = 2
"""GPU faults of a trial that shares its GPU before it gets one to itself, where a further fault must be its own."""


@dataclass(frozen=True)
class Attempt:
    """How a trial is run, and why.

    Attributes:
        batch_size: `optim.batch_size`, the batch of an optimiser step; never changed here.
        share: of a GPU, above 0.
        accumulation: micro-batches that a batch is split into.
        grown: whether the share has been enlarged before.
        notes: one line for each retry, for the trial's record.
    """

    batch_size: int
    share: float
    accumulation: int = 1
    grown: bool = False
    notes: tuple[str, ...] = ()


def after_out_of_memory(attempt: Attempt) -> Attempt | None:
    """The next attempt: once with the next larger share, then with 2, 4, ... micro-batches.

    Returns:
        None when the micro-batches were single examples already: the trial has failed.
    """
    failure = f"ran out of memory at {_at(attempt)}"
    larger = None if attempt.grown else next_class(attempt.share)
    if larger is not None:
        note = f"{failure}; retried at {_share_text(larger)}"
        return replace(attempt, share=larger, grown=True, notes=(*attempt.notes, note))
    num_micro_batches = split_further(attempt.batch_size, attempt.accumulation)
    if num_micro_batches is None:
        return None
    note = f"{failure}; retried with {shown_split(attempt.batch_size, num_micro_batches)}"
    return replace(attempt, accumulation=num_micro_batches, notes=(*attempt.notes, note))


def after_shared_faults(attempt: Attempt, num_faults: int) -> Attempt:
    """The next attempt of a trial whose shared GPU failed `num_faults` times: the whole GPU, from the last checkpoint.

    A fault ends all clients of an MPS server without saying whose it was. So each resumes from its checkpoint, after
    `MAX_SHARED_FAULTS` alone; a trial that faults alone is the culprit.
    """
    note = f"the GPU failed {num_faults} times while shared; resumed alone on it from the checkpoint"
    return replace(attempt, share=1.0, notes=(*attempt.notes, note))


def _share_text(share: float) -> str:
    return "the whole GPU" if share >= 1 else f"{shown_share(share)} of the GPU"


def _at(attempt: Attempt) -> str:
    split = "" if attempt.accumulation == 1 else f" with {attempt.accumulation} micro-batches"
    return _share_text(attempt.share) + split
