"""The files of a raw data set: finding the one table, reading its columns as text, finding images by name."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.errors import InputError
from xlite.storage.text import has_control_characters

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_TABLE_BYTES = 2**30
"""The most a table may hold unpacked: a small .gz can claim any size and would fill the memory."""
_LONGEST_LABEL = 200
_OPEN_QUOTE = "unexpected end of data"  # a quote that is never closed would swallow all rows after it


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` is an existing folder."""
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; name the folder that holds the data set")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; name the folder that holds the data set")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, unpacked if it ends in .gz; a damaged one, or one of more than 1 GiB, is an InputError."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(MAX_TABLE_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error}); fetch it again") from None
    if len(raw) > MAX_TABLE_BYTES:
        raise InputError(f"{path}: more than {MAX_TABLE_BYTES:,} bytes, which no label table has; see what it is")
    return raw


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, unpacked if it ends in .gz; a damaged one is an InputError."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None


def find_one(folder: Path, pattern: str) -> Path | None:
    """The file `pattern` or `pattern`.gz in `folder`, None where there is none; several must say the same.

    Raises:
        InputError: several files with different content.
    """
    paths = sorted(p for end in ("", ".gz") for p in folder.glob(pattern + end) if p.is_file())
    if len(paths) > 1 and len({read_bytes(path) for path in paths}) > 1:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"{folder}: {names} differ from one another; keep the one that counts")
    return paths[0] if paths else None


def read_columns(path: Path, names: tuple[str, ...]) -> pd.DataFrame:
    """Columns `names` of a CSV file (packed or not) as stripped text; the index is the row in the file, header = 1.

    Rows may have more or fewer fields than the header; fields that are not there are "". Rows empty in all of `names`
    are left out.

    Raises:
        InputError: a column is missing, or the file is no CSV.
    """
    header, *lines = csv_rows(path)
    header = [name.strip() for name in header]
    for name in names:
        if name not in header:
            raise InputError(
                f"{path}: no column {name!r}; row 1 must name the columns {', '.join(names)}, with commas between"
            )
        if header.count(name) > 1:
            raise InputError(f"{path}: two columns are named {name!r}; keep the one that counts")
    at = [header.index(name) for name in names]
    rows = ([fields[i].strip() if i < len(fields) else "" for i in at] for fields in lines)
    kept = [(number, cells) for number, cells in enumerate(rows, start=2) if any(cells)]
    index = [number for number, _ in kept]
    return pd.DataFrame([cells for _, cells in kept], columns=list(names), index=index, dtype=object)


def csv_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    """The rows of a CSV file (packed or not), at least one; the first is [] where the file is empty.

    Raises:
        InputError: it is no such table.
    """
    text = read_text(path)
    if "\0" in text:
        raise InputError(f"{path}: not a table: it holds NUL bytes; save it as CSV in UTF-8")
    rows, problem = _split_rows(text, delimiter, strict=True)
    if problem is not None and not problem.endswith(_OPEN_QUOTE):  # what only the strict reader minds is let pass
        rows, problem = _split_rows(text, delimiter, strict=False)
    if problem is not None:
        raise InputError(f"{path}: not a CSV table ({problem}); mend that row")
    return rows or [[]]


def _split_rows(text: str, delimiter: str, *, strict: bool) -> tuple[list[list[str]], str | None]:
    """The rows, and what is wrong with one of them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    try:
        return list(reader), None
    except csv.Error as error:
        return [], f"line {reader.line_num}: {error}"


def check_labels(labels: Sequence[str], where: str) -> None:
    """Refuse label names that reports, tables and terminals cannot show as they are.

    Raises:
        InputError: one holds line ends or control characters, or is longer than 200.
    """
    for label in labels:
        if has_control_characters(label):
            raise InputError(f"{where}: the label {label[:60]!r} holds control characters; rename it")
        if len(label) > _LONGEST_LABEL:
            raise InputError(
                f"{where}: the label {label[:60]!r}... has {len(label)} characters; write at most {_LONGEST_LABEL}"
            )


@dataclass(frozen=True)
class Images:
    """Image files by name; `repeated` names those found in more than one folder (the first folder counts)."""

    paths: dict[str, Path]
    repeated: tuple[str, ...]

    def missing(self, names: np.ndarray) -> np.ndarray:
        """(N,) bool: which of `names` have no file."""
        return np.fromiter((name not in self.paths for name in names.tolist()), dtype=bool, count=len(names))


def find_images(folders: Iterable[Path]) -> Images:
    """All .png, .jpg and .jpeg files directly in `folders`; folders that do not exist are passed over."""
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
