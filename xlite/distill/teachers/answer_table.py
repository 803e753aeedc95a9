"""A table of answers as it is read: image id x label, in .csv, .parquet or .npz, logits or probabilities."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from xlite.distill.teachers.values import ANSWERS, Answers
from xlite.errors import InputError
from xlite.storage.files import read_json_object

SUFFIXES = (".csv", ".parquet", ".npz")


@dataclass(frozen=True)
class AnswerTable:
    """A table as read.

    Attributes:
        file: where it is from.
        ids: N names of images, as written.
        columns: N rows; the labels, and perhaps others.
        answers: what the values are.
    """

    file: Path
    ids: list[str]
    columns: pd.DataFrame
    answers: Answers

    @property
    def labels(self) -> list[str]:
        """The columns' names."""
        return [str(name) for name in self.columns]


def read_table(file: Path, answers: Answers | None) -> AnswerTable:
    """Read a table.

    Args:
        answers: what a person says the values are; None: as the file says.

    Raises:
        InputError: it cannot be read, or nobody says what its values are.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        ids, columns, said = _read_npz(file) if file.suffix == ".npz" else _read_frame(file)
    except InputError:
        raise
    except Exception as error:  # of pandas, pyarrow, zipfile or NumPy, for an arbitrary file
        raise InputError(f"{file}: not a table of answers ({' '.join(str(error).split())[:200]})") from None
    if said and answers and said != answers:
        raise InputError(f"{file}: says that its values are {said}; leave out --teacher-answers {answers}")
    known = said or answers
    if known is None:
        raise InputError(f"{file}: are its values logits or probabilities? Say it with --teacher-answers")
    return AnswerTable(file, ids, columns, known)


def _read_npz(file: Path) -> tuple[list[str], pd.DataFrame, Answers | None]:
    with np.load(file, allow_pickle=False) as arrays:
        kinds = [kind for kind in ANSWERS if kind in arrays.files]
        if not {"ids", "labels"} <= set(arrays.files) or len(kinds) != 1:
            raise InputError(
                f"{file}: it holds {', '.join(arrays.files) or 'nothing'}; store ids, labels, and one of logits and "
                "probabilities"
            )
        ids, labels, values = arrays["ids"].astype(str).tolist(), arrays["labels"].astype(str), arrays[kinds[0]]
    if values.shape != (len(ids), len(labels)):
        raise InputError(f"{file}: {kinds[0]} has shape {values.shape}, ids and labels give {(len(ids), len(labels))}")
    return ids, pd.DataFrame(values, columns=labels), kinds[0]


def _read_frame(file: Path) -> tuple[list[str], pd.DataFrame, Answers | None]:
    if file.suffix == ".csv":
        frame = pd.read_csv(file, dtype={0: str}, keep_default_na=False, na_values=[""])
    else:
        try:
            frame = pd.read_parquet(file)
        except ImportError:
            raise InputError(f"{file}: needs pyarrow, which is not installed: pip install '.[parquet]'") from None
        if not isinstance(frame.index, pd.RangeIndex):  # ids that pandas kept as the index
            frame = frame.reset_index()
    beside = file.with_suffix(".json")
    said = read_json_object(beside).get("answers") if beside.exists() else None
    if said not in (None, *ANSWERS):
        raise InputError(f"{beside}: `answers` is {said!r}; write logits or probabilities")
    if frame.shape[1] < 2 or not len(frame):
        raise InputError(f"{file}: write a row for each image: its id in the first column, then one for each label")
    ids = frame.iloc[:, 0]
    if ids.isna().any():
        raise InputError(f"{file}: row {int(np.argmax(ids.isna())) + 2} has no image id")
    return ids.astype(str).tolist(), frame.iloc[:, 1:], cast(Answers | None, said)
