"""Training in this process where its GPU runs out of memory: on from the last checkpoint, in smaller micro-batches."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlite.device import is_out_of_memory, release_memory
from xlite.errors import InputError
from xlite.train.resumable import EpochResult, epochs_of, train_resumable
from xlite.train.run import TrainingRun
from xlite.train.step import RecordingFailed


def split_further(batch_size: int, num_micro_batches: int) -> int | None:
    """Twice as many micro-batches, at most one for each example; None where they are that many already."""
    return min(2 * num_micro_batches, batch_size) if num_micro_batches < batch_size else None


def shown_split(batch_size: int, num_micro_batches: int) -> str:
    """A batch in micro-batches, for a message."""
    largest = -(-batch_size // num_micro_batches)
    return (
        f"batches of {batch_size} split into {num_micro_batches} micro-batches of up to {largest} "
        "(which batch normalisation sees)"
    )


def train_to_the_end(
    run: TrainingRun,
    *,
    folder: Path,
    stem: str,
    hyper_parameters: Mapping[str, Any] | None = None,
    events_folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Iterator[EpochResult]:
    """The epochs of `train_resumable`, whose arguments these are, as a driver and its workers would train them.

    Where GPU memory runs out, the epoch is begun again with twice as many micro-batches; the batch of an optimiser step
    stays. Standard error and the run's summary have a line for whatever is not done as asked.

    Raises:
        InputError: memory runs out with micro-batches of one example, or another process must go on (see
            `RecordingFailed`): the same command does.
        StillFull, TrainingFailed: as `train_resumable`.
    """
    notes: tuple[str, ...] = ()
    while True:
        steps = train_resumable(
            run,
            folder=folder,
            stem=stem,
            hyper_parameters=hyper_parameters,
            events_folder=events_folder,
            about=about,
            notes=notes,
        )
        try:
            for result in epochs_of(steps):
                notes = _said(notes, result.summary.step_notes)
                yield result
            return
        except RecordingFailed as failure:
            raise InputError(f"{folder}: {failure}; run the same command again, and it takes plain steps") from None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            run, note = _split(run)
        release_memory()  # here the error's traceback holds no tensor any more
        notes = _said(notes, [note])


def _split(run: TrainingRun) -> tuple[TrainingRun, str]:
    """The run with twice as many micro-batches, and the line on it.

    Raises:
        InputError: they are single examples already.
    """
    config = run.config
    num = split_further(config.optim.batch_size, config.train.micro_batches)
    if num is None:
        raise InputError(
            f"{config.model.backbone}: GPU memory ran out with single examples; end what else uses the GPU, or lower "
            "data.image_size"
        ) from None
    note = f"GPU memory ran out; continued with {shown_split(config.optim.batch_size, num)}"
    return replace(run, config=config.override({"train.micro_batches": num}, source="out of memory")), note


def _said(before: tuple[str, ...], notes: Iterable[str]) -> tuple[str, ...]:
    """Print those of `notes` that are new on standard error; returns all that were said."""
    new = [note for note in notes if note not in before]
    for note in new:
        print(note, file=sys.stderr, flush=True)
    return (*before, *new)
