"""A teacher that is a table of answers made elsewhere: one answer an image, whatever the view."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.teachers.answer_table import AnswerTable, read_table
from xlite.distill.teachers.image_ids import rows_of
from xlite.distill.teachers.labels import LabelMatch, match_labels
from xlite.distill.teachers.values import Answers, as_logits, constant_labels
from xlite.errors import InputError

LEAST_COVERED = 0.5
"""The least share of the training images that a table must answer; below it, the ids are more likely of others."""


@dataclass(frozen=True)
class TableTeacher:
    """A table's answers to the data's images.

    Attributes:
        name: the file's.
        key: over the file and what its values are: logits, or probabilities of labels or of classes.
        notes: images and labels with and without an answer.
        logits: (M, L) float32 by row of the pixel file, NaN where there is no answer.
    """

    name: str
    key: str
    notes: tuple[str, ...]
    logits: np.ndarray

    @property
    def settings(self) -> dict[str, Any]:
        """None: its key has all of them."""
        return {}

    def answer(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device
    ) -> np.ndarray:
        """The answers to the images of `rows`, whatever the view."""
        return self.logits[rows]


def load_answers(file: Path, dataset: Dataset, *, kind: str, answers: Answers | None) -> TableTeacher:
    """A table as a teacher for this data.

    Args:
        kind: of the data's targets.

    Raises:
        InputError: as `read_table`; labels or images do not fit; or a value is no such answer.
    """
    table, exclusive = read_table(file, answers), kind != "multilabel"
    if dataset.targets.ndim != 2:
        raise InputError(f"{file}: a table has one answer for an image, the data has one for each of its lines")
    match = match_labels(file, table.labels, dataset.labels, partial=not exclusive)
    known = match.columns >= 0
    values = _values(table, match.columns[known])
    found = _examples(table, values, dataset.ids)
    logits = np.full((len(dataset.ids), len(dataset.labels)), np.nan, dtype=np.float32)
    answered = found >= 0
    logits[np.ix_(found[answered], known)] = as_logits(values, table.answers, exclusive=exclusive)[answered]
    if flat := constant_labels(logits, dataset.labels, exclusive=exclusive):
        raise InputError(
            f"{file}: every image has the same answer for {', '.join(flat)}; was the model's input in the right range? "
            "If so, leave these columns out"
        )
    by_pixel_row = np.full((int(dataset.rows.max()) + 1, len(dataset.labels)), np.nan, dtype=np.float32)
    by_pixel_row[dataset.rows] = logits
    meaning = f"{table.answers} of classes" if exclusive and table.answers == "probabilities" else table.answers
    digest = hashlib.sha256(file.read_bytes() + meaning.encode()).hexdigest()
    return TableTeacher(file.name, digest, _notes(table, match, found, dataset.part("train")), by_pixel_row)


def _values(table: AnswerTable, columns: np.ndarray) -> np.ndarray:
    """(N, K) float64 of the columns at these places.

    Raises:
        InputError: a value cannot be what it is said to be.
    """
    frame = table.columns.iloc[:, columns]
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            raise InputError(f"{table.file}: column {name} holds other things than numbers")
    values = frame.to_numpy(np.float64)
    outside = (values < 0) | (values > 1)
    wrong = {"not a finite number": ~np.isfinite(values)}
    if table.answers == "probabilities":
        wrong["outside 0 to 1; is it a logit?"] = outside
    elif not outside.any():
        raise InputError(f"{table.file}: said to be logits, but all values lie from 0 to 1, as probabilities do")
    for what, places in wrong.items():
        if places.any():
            row, column = np.argwhere(places)[0].tolist()
            value = values[row, column]
            raise InputError(f"{table.file}: {table.ids[row]}, {frame.columns[column]}: {value:g} is {what}")
    return values


def _examples(table: AnswerTable, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(N,) int: the example of each row of the table, -1 where it is of none.

    Raises:
        InputError: no row is of any example, or two rows of one example differ.
    """
    found = rows_of(table.ids, ids)
    if not (found >= 0).any():
        raise InputError(
            f"{table.file}: none of its {len(found):,} ids is of an image here; its first is {table.ids[0]}, the "
            f"data's {ids[0]}"
        )
    first: dict[int, int] = {}
    for row, example in enumerate(found.tolist()):
        if example >= 0 and not np.array_equal(values[first.setdefault(example, row)], values[row]):
            raise InputError(f"{table.file}: {table.ids[row]} has two rows with different answers; keep one of them")
    return found


def _notes(table: AnswerTable, match: LabelMatch, found: np.ndarray, train: np.ndarray) -> tuple[str, ...]:
    """What it answers.

    Raises:
        InputError: too few of the training images.
    """
    name, covered = table.file.name, int(np.isin(train, found).sum())
    share = f"{covered:,} of {len(train):,} training images ({covered / len(train):.0%})"
    if covered < LEAST_COVERED * len(train):
        raise InputError(f"{table.file}: it answers {share}, below {LEAST_COVERED:.0%}; let it answer the others too")
    notes = [f"{name}: one answer an image, used for all its views; {share} have one"]
    if num_unknown := int((found < 0).sum()):
        notes.append(f"{name}: {num_unknown:,} of its {len(found):,} ids are of no image here")
    if others := [label for column, label in enumerate(table.labels) if column not in match.columns]:
        notes.append(f"{name}: columns that are no label of the data: {', '.join(others)}")
    return (*notes, *match.notes(name))
