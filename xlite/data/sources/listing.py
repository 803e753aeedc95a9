"""The files of a raw data set: finding its table, reading columns as text, finding images by name."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.sources.csv_text import csv_columns, read_bytes
from xlite.errors import InputError
from xlite.storage.text import has_control_characters

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_MISSING = 0.01
"""Largest share of images that may be missing without --allow-missing."""
_MAX_LABEL_LENGTH = 200


def find_one(folder: Path, pattern: str) -> Path | None:
    """Find the file `pattern` (a glob) or `pattern`.gz in `folder`; of several with equal content, the first by name.

    Returns:
        Its path, or None if there is none.

    Raises:
        InputError: several files with different content.
    """
    paths = sorted(p for end in ("", ".gz") for p in folder.glob(pattern + end) if p.is_file())
    if len(paths) > 1 and len({read_bytes(path) for path in paths}) > 1:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"{folder}: {names} differ from one another; keep only the right one")
    return paths[0] if paths else None


def read_table(folder: Path, pattern: str, columns: tuple[str, ...], *, what: str) -> tuple[Path, pd.DataFrame]:
    """Find a table as `find_one` does and read it as `read_columns` does.

    Args:
        what: the tables' name in messages, e.g. "RSNA's tables".

    Raises:
        InputError: no such table, or one without rows; as `find_one` and `read_columns`.
    """
    path = find_one(folder, pattern)
    if path is None:
        raise InputError(f"{folder}: no {pattern} or {pattern}.gz; put {what} there")
    rows = read_columns(path, columns)
    if rows.empty:
        raise InputError(f"{path}: no rows; download {what} again")
    return path, rows


def read_columns(path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """`csv_columns` as a table of text whose index is the row number in the file. Raises InputError as it does."""
    rows = csv_columns(path, names)
    index = [number for number, _ in rows]
    return pd.DataFrame([cells for _, cells in rows], columns=list(names), index=index, dtype=object)


def first_row(rows: pd.DataFrame, wrong: "pd.Series[bool] | np.ndarray") -> int | None:
    """The index (row number in the file) of the first row where `wrong` (R,) is True, None if there is none."""
    return int(rows.index[int(np.argmax(np.asarray(wrong)))]) if wrong.any() else None


def check_missing(
    source: Path | str, missing: Sequence[str], total: int, *, what: str, fix: str, allow_missing: bool
) -> None:
    """Check that few enough of a table's files are missing.

    Args:
        source: the table or folder, which begins the message.
        missing: names of the missing ones.
        total: how many there should be.
        what: their name in the message, e.g. "images".
        fix: what to do if all are missing.

    Raises:
        InputError: all are missing; more than 1% are and `allow_missing` is False.
    """
    if len(missing) == total:
        raise InputError(f"{source}: none of the {total} {what} is there, e.g. {missing[0]}; {fix}")
    if len(missing) > MAX_MISSING * total and not allow_missing:
        raise InputError(
            f"{source}: {len(missing)} of {total} {what} ({len(missing) / total:.1%}) are missing, e.g. {missing[0]}; "
            "add them or pass --allow-missing"
        )


def check_labels(labels: Sequence[str], where: str) -> None:
    """Check that reports, tables and terminals can show the label names.

    Args:
        where: the table's path, which begins the message.

    Raises:
        InputError: one holds line breaks or control characters, or has more than 200 characters.
    """
    for label in labels:
        if has_control_characters(label):
            raise InputError(f"{where}: the label {label[:60]!r} holds control characters; rename it")
        if len(label) > _MAX_LABEL_LENGTH:
            raise InputError(
                f"{where}: the label {label[:60]!r}... has {len(label)} characters; use at most {_MAX_LABEL_LENGTH}"
            )


@dataclass(frozen=True)
class Images:
    """Image files by name; `repeated` are the names found in several folders, of which the first is used."""

    paths: dict[str, Path]
    repeated: tuple[str, ...]


def find_images(folders: Iterable[Path]) -> Images:
    """Find all .png, .jpg and .jpeg files directly in `folders`; folders that do not exist are skipped."""
    paths: dict[str, Path] = {}
    repeated = []
    for folder in folders:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_IMAGE_SUFFIXES) and entry.is_file():
                    if entry.name in paths:
                        repeated.append(entry.name)
                    else:
                        paths[entry.name] = folder / entry.name
    return Images(paths, tuple(sorted(repeated)))
