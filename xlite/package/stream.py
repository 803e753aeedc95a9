"""Predictions of any number of sources as they come: files decoded and graphs run in threads, a few batches ahead."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from xlite.data.preprocess import ModelInput
from xlite.errors import InputError
from xlite.package.find import Found
from xlite.package.predict import PackagePredictor
from xlite.package.unlike import TrainingInputs, raw_side

_AHEAD = 2
"""Batches that wait for each thread."""
_MAX_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """The answer for one source.

    Attributes:
        id: the source's name.
        probabilities: (L,) float32, of a scan (lines, L).
        flags: how it is unlike the training images, see `xlite.package.unlike.FLAGS`.
    """

    id: str
    probabilities: np.ndarray
    flags: tuple[str, ...]


@dataclass(frozen=True)
class PassedOver:
    """A source that could not be read, and why."""

    id: str
    reason: str


Outcome = Prediction | PassedOver


def predictions(predictor: PackagePredictor, sources: Iterable[Found], *, threads: int) -> Iterator[Outcome]:
    """An outcome for each source, in order. Memory does not grow with their number.

    Each thread decodes the files of a batch and then runs the graph on it, so the predictor's session should use one
    thread itself.
    """
    known = TrainingInputs.from_json(predictor.about.training_inputs)
    size = batch_size(predictor)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[list[Outcome]]] = deque()
    try:
        left = iter(sources)
        while batch := list(islice(left, size)):
            waiting.append(pool.submit(_outcomes, predictor, batch, known))
            if len(waiting) > _AHEAD * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def batch_size(predictor: PackagePredictor) -> int:
    """Sources that one thread reads and then computes together."""
    return min(predictor.batch_size, _MAX_BATCH)


def _outcomes(predictor: PackagePredictor, batch: Sequence[Found], known: TrainingInputs | None) -> list[Outcome]:
    outcomes: list[Outcome | None] = []
    inputs: list[list[ModelInput]] = []
    read: list[Found] = []
    for found in batch:
        try:
            if found.problem:
                raise InputError(found.problem)
            inputs.append(predictor.inputs(found.source, found.auxiliary))
            read.append(found)
            outcomes.append(None)
        except InputError as error:
            outcomes.append(PassedOver(found.id, found.reason(error)))
    rows = iter(predictor.rows(inputs))
    flags = (_flags(known, found, some) for found, some in zip(read, inputs, strict=True))
    names = iter(read)
    return [outcome or Prediction(next(names).id, next(rows), next(flags)) for outcome in outcomes]


def _flags(known: TrainingInputs | None, found: Found, inputs: Sequence[ModelInput]) -> tuple[str, ...]:
    if known is None:
        return ()
    side = raw_side(found.file) if known.sides else None
    return tuple(dict.fromkeys(flag for one in inputs for flag in known.flags(one.pixels, side)))
