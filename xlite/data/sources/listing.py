"""The files of a raw data set: finding the one table, reading its columns as text, finding images by name."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.errors import InputError

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` is an existing folder."""
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; name the folder that holds the data set")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; name the folder that holds the data set")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, unpacked if it ends in .gz; a damaged one is an InputError."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error}); fetch it again") from None


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
    text = read_text(path)
    header = [field.strip() for field in next(csv.reader(io.StringIO(text)), [])]
    for name in names:
        if name not in header:
            raise InputError(f"{path}: no column {name!r}; row 1 must name the columns {', '.join(names)}")
    at = [header.index(name) for name in names]
    try:  # the header is read as a row: its width is the least width, and wider rows pass because of `usecols`
        frame = pd.read_csv(
            io.StringIO(text), header=None, usecols=at, dtype=str, keep_default_na=False, skip_blank_lines=False
        )
    except pd.errors.ParserError as error:
        raise InputError(f"{path}: not a CSV table ({' '.join(str(error).split())}); mend that row") from None
    frame = frame[at].set_axis(list(names), axis=1)
    frame.index += 1
    frame = frame.iloc[1:].apply(lambda column: column.str.strip())
    return frame[(frame != "").any(axis=1)]


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
