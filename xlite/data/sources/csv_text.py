"""Text and CSV files of a data set, as they are or as .gz. Without pandas, which a stand-alone package does without."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

from xlite.errors import InputError

MAX_TABLE_BYTES = 2**30
"""Largest decompressed table: a small .gz can expand to any size and would fill the memory."""
_OPEN_QUOTE = "unexpected end of data"  # csv's message for a quote that is never closed


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, decompressed if its name ends in .gz.

    Raises:
        InputError: a damaged .gz, or more than MAX_TABLE_BYTES.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(MAX_TABLE_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error}); download it again") from None
    if len(raw) > MAX_TABLE_BYTES:
        raise InputError(f"{path}: more than {MAX_TABLE_BYTES:,} bytes, too large for a label table; check the file")
    return raw


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, decompressed if its name ends in .gz.

    Raises:
        InputError: as `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None


def csv_columns(path: Path, names: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The columns `names` of a CSV file, which may be a .gz: (row number, its stripped cells), the header being row 1.

    Rows may have more or fewer fields than the header; missing fields are "". Rows that are empty in all of `names` are
    left out.

    Raises:
        InputError: a column is missing or there twice; as `csv_rows`.
    """
    header, *lines = csv_rows(path)
    header = [name.strip() for name in header]
    for name in names:
        if name not in header:
            raise InputError(
                f"{path}: no column {name!r}; row 1 must name the columns {', '.join(names)}, separated by commas"
            )
        if header.count(name) > 1:
            raise InputError(f"{path}: two columns are named {name!r}; keep only the right one")
    at = [header.index(name) for name in names]
    rows = ([fields[i].strip() if i < len(fields) else "" for i in at] for fields in lines)
    return [(number, cells) for number, cells in enumerate(rows, start=2) if any(cells)]


def csv_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    """The rows of a CSV file, which may be a .gz; an empty file gives one empty row.

    Raises:
        InputError: as `read_text`; NUL bytes, an unclosed quote or another CSV error.
    """
    text = read_text(path)
    if "\0" in text:
        raise InputError(f"{path}: not a table: it holds NUL bytes; save it as CSV in UTF-8")
    rows, problem = _split_rows(text, delimiter, strict=True)
    if problem is not None and not problem.endswith(_OPEN_QUOTE):  # accept what only the strict reader rejects
        rows, problem = _split_rows(text, delimiter, strict=False)
    if problem is not None:
        raise InputError(f"{path}: not a CSV table ({problem}); fix that row")
    return rows or [[]]


def _split_rows(text: str, delimiter: str, *, strict: bool) -> tuple[list[list[str]], str | None]:
    """The rows and None, or no rows and the error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    try:
        return list(reader), None
    except csv.Error as error:
        return [], f"line {reader.line_num}: {error}"
