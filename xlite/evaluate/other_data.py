"""Other data as a model takes it: read by a task, preprocessed as in the model's training, labels in its order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xlite.config import RunConfig
from xlite.console import Console, ProgressCallback
from xlite.data.cache import PixelCache
from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import ModelInput, Preprocess
from xlite.data.table import Table
from xlite.errors import InputError
from xlite.evaluate.match_labels import match_labels
from xlite.evaluate.overlap import Overlap
from xlite.evaluate.package import Answering, PromotedModel
from xlite.tasks.prepare import DataRequest, cache_examples, read
from xlite.tasks.target_spec import TargetSpec
from xlite.tasks.task import Task

PartChoice = Literal["all", "train", "val", "test"]
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class OtherData:
    """N readable examples.

    Attributes:
        table: its targets are in the model's order, NaN where the data lacks a label.
        cache: their inputs; rows: (N,) each example's place there.
        absent, unknown: labels that the data, or the model, lacks.
        folder: of the raw files.
        predictor: the model.
    """

    table: Table
    cache: PixelCache
    rows: np.ndarray
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    folder: Path
    predictor: Answering

    def take(self, chosen: np.ndarray) -> "OtherData":
        """Only the examples that `chosen` (N,) bool names."""
        places = np.flatnonzero(chosen)
        return replace(self, table=self.table.take(places), rows=self.rows[places])

    @property
    def hashes(self) -> np.ndarray:
        """(N, 2) uint64 `PictureHashes`."""
        return self.cache.hashes()[self.rows]

    def answers(self, progress: ProgressCallback) -> np.ndarray:
        """(N, ..., L) probabilities; `progress` is called with (answered, N)."""
        auxiliary, num, parts = self.table.auxiliary, len(self.rows), []
        for start in range(0, num, _CHUNK):
            places = range(start, min(start + _CHUNK, num))
            inputs = [
                ModelInput(
                    np.asarray(self.cache.pixels[self.rows[at]]),
                    () if auxiliary is None else tuple(auxiliary[at].tolist()),
                )
                for at in places
            ]
            parts.append(self.predictor.answers(inputs))
            progress(places.stop, num)
        return np.concatenate(parts)


def read_other(
    task: Task,
    folder: Path,
    package: PromotedModel,
    predictor: Answering,
    console: Console,
    *,
    cache_dir: Path,
    allow_missing: bool,
    column_overrides: Mapping[str, Any],
) -> OtherData:
    """Read a folder by `task` and cache its inputs by the model's preprocessing.

    Raises:
        InputError: it cannot be read, has no label in common with the model, no known label, or inputs that the model
            does not take.
    """
    preprocess = predictor.preprocess
    data = _data_section(preprocess).data
    request = DataRequest(
        folder, data, None, 0, "1.0", cache_dir, allow_missing, column_overrides=dict(column_overrides)
    )
    reading, read_by = read(task, request, console)
    matched = match_labels(
        reading.table.targets, reading.table.labels, read_by.target_spec.kind, predictor.labels, package.kind
    )
    _check_fits(reading.table, preprocess.input_spec, package.auxiliary_max, task)
    for note in matched.notes:
        console.say(note)
    table, cache, rows = cache_examples(reading, preprocess, request, console)
    kept = np.isin(reading.table.ids, table.ids)
    table = replace(table, targets=matched.targets[kept], labels=predictor.labels)
    if np.isnan(table.targets).all():
        raise InputError(f"{folder}: no example has a known label of the model's; nothing can be judged")
    return OtherData(table, cache, rows, matched.absent, matched.unknown, folder, predictor)


def check_judged(data: OtherData, target_spec: TargetSpec) -> None:
    """Refuse data on which no metric is defined, before a look at test is recorded.

    Raises:
        InputError: no example, no label with both classes, or fewer than two classes.
    """
    if not len(data.table):
        raise InputError(f"{data.folder}: no example is left to judge; give other data")
    if target_spec.answers_are is not None:
        targets = data.table.targets
        try:
            target_spec.judge(np.nan_to_num(targets), targets, data.table.labels)
        except InputError as error:
            raise InputError(f"{data.folder}: {error}") from None


def of_part(data: OtherData, overlap: Overlap | None, part: PartChoice) -> np.ndarray:
    """(N,) bool: the examples of a part: the study's own split where they are its own, else the data's own lists.

    Raises:
        InputError: no example is in that part.
    """
    if part == "all":
        return np.ones(len(data.table), dtype=bool)
    official = data.table.official
    parts = np.full(len(data.table), "", dtype="<U8") if official is None else official.astype("<U8")
    if overlap is not None:
        parts = np.where(overlap.by_id, overlap.part, parts)
    if not (parts == part).any():
        lists = "its lists name none" if official is not None else "it came with no lists of parts"
        raise InputError(f"--part {part}: {data.folder} has no such part, {lists}; leave --part out")
    return parts == part


def _data_section(preprocess: Preprocess) -> RunConfig:
    """Windows of scan lines are as long as the model's; nothing else of it decides what an example is."""
    spec = preprocess.input_spec
    lines = {"data.window_lines": spec.shape[0]} if spec.layout == "lines" else {}
    return RunConfig().override(lines, source="the model's inputs")


def _check_fits(table: Table, spec: InputSpec, most: tuple[int, ...], task: Task) -> None:
    num = 0 if table.auxiliary is None else table.auxiliary.shape[1]
    if num != len(spec.auxiliary):
        raise InputError(
            f"--task {task.name} gives {num} integers beside an image, the model takes {len(spec.auxiliary)} "
            f"({', '.join(spec.auxiliary) or 'none'}); use the task it was trained for"
        )
    if table.auxiliary is not None and most:
        highest = table.auxiliary.max(axis=0)
        for name, value, known in zip(spec.auxiliary, highest.tolist(), most, strict=True):
            if value > known:
                raise InputError(
                    f"the data has {name} {value}, the model was trained on at most {known}; leave those examples out"
                )
