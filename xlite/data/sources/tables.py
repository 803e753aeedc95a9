"""Label tables: reads .csv, .tsv, .tab, .txt, .xlsx and .parquet as text, and says which files are tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xlite.data.image_formats import SUFFIXES
from xlite.data.sources.cells import with_decimal_points
from xlite.data.sources.csv_text import csv_rows, read_text
from xlite.errors import InputError

_TEXT = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz")
_SHEETS = (".xlsx", ".xlsm", ".parquet", ".pq")
_PERHAPS = (".txt", "")
_DELIMITERS = ",;\t|"
_UNREAD = (".xls", ".ods", ".json", ".jsonl", ".sav", ".dta", ".rds", ".rdata", ".feather", ".h5", ".db", ".sqlite")
_PEEK_BYTES = 4096


@dataclass(frozen=True)
class LabelTable:
    """A table as stripped text; the index is the row in the file, where the header is row 1.

    Attributes:
        notes: what was noticed on reading it, or on other files.
    """

    path: Path
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def suffix_of(name: str) -> str:
    """The suffix in lower case, with .gz as part of it."""
    path = Path(name.lower())
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def is_table(path: Path) -> bool:
    """Whether a file is a table that can be read: by its suffix, or with .txt or none by its first lines."""
    suffix = suffix_of(path.name)
    if suffix in _TEXT or suffix in _SHEETS:
        return True
    return suffix in _PERHAPS and _looks_like_table(path)


def is_unread_table(path: Path) -> bool:
    """Whether a file may hold labels in a format that is not read."""
    return suffix_of(path.name) in _UNREAD


def _looks_like_table(path: Path) -> bool:
    """Whether the first lines have a delimiter, equally often in all."""
    try:
        with path.open("rb") as file:
            head = file.read(_PEEK_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return False
    lines = [line for line in head.split("\n")[:-1][:8] if line.strip()]
    if len(lines) < 2 or "\0" in head or "\ufffd" in head[:-4]:
        return False
    return any(len({line.count(d) for line in lines}) == 1 and d in lines[0] for d in _DELIMITERS)


def read_table(path: Path) -> LabelTable:
    """Read a table's first row as the names of its columns.

    In text, a first line "sep=;" and lines that begin with # are skipped, and decimal commas become points where the
    delimiter is no comma.

    Raises:
        InputError: not a table; no row of names; two columns of one name; a row with more fields than names; no rows.
    """
    suffix = suffix_of(path.name)
    if suffix in _SHEETS:
        return _read_sheet(path, suffix)
    delimiter, num_skipped = _delimiter(path)
    lines = csv_rows(path, delimiter)
    return LabelTable(path, _frame(path, lines[num_skipped:], num_skipped + 1, decimal_comma=delimiter != ","))


def _delimiter(path: Path) -> tuple[str, int]:
    """The delimiter, and how many lines lie before the names."""
    lines = read_text(path).split("\n")
    num_skipped, delimiters = 0, _DELIMITERS
    if suffix_of(path.name).startswith((".tsv", ".tab")):
        delimiters = "\t"
    while num_skipped < len(lines) - 1:
        line = lines[num_skipped].strip().lower()
        if line.startswith("sep=") and len(line) == 5:
            delimiters = line[4]
        elif not line.startswith("#") or any(d in line for d in delimiters):
            break
        num_skipped += 1
    first = lines[num_skipped]
    return max(delimiters, key=first.count), num_skipped


def _frame(
    path: Path, lines: Sequence[Sequence[str]], first_number: int, *, decimal_comma: bool = False
) -> pd.DataFrame:
    header = [" ".join(name.split()) for name in (lines[0] if lines else ())]
    if not any(header):
        raise InputError(f"{path}: not a table; row 1 must name the columns")
    if image := next((name for name in header if Path(name.lower()).suffix in SUFFIXES), None):
        raise InputError(f"{path}: row {first_number} names the image {image!r}; add a header row before it")
    if repeated := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise InputError(f"{path}: two columns are named {repeated[0]!r}; rename one")
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=first_number + 1):
        fields = [field.strip() for field in line]
        if not any(fields):
            continue
        if any(fields[len(header) :]):
            raise InputError(
                f"{path}: row {number} has {len(fields)} fields, row {first_number} has {len(header)}; fix that row"
            )
        rows.append(fields[: len(header)] + [""] * (len(header) - len(fields)))
        numbers.append(number)
    if not rows:
        raise InputError(f"{path}: no rows below row {first_number}; add the images' rows")
    columns = {}
    for i, name in enumerate(header):
        if name:  # a column without a name is the index that pandas writes
            texts = [row[i] for row in rows]
            columns[name] = pd.Series(
                with_decimal_points(texts) if decimal_comma else texts, index=numbers, dtype=object
            )
    return pd.DataFrame(columns)


def _read_sheet(path: Path, suffix: str) -> LabelTable:
    """An Excel file's first sheet that is not empty, or a Parquet file."""
    try:
        if suffix in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            if any(frame.index.names):
                frame = frame.reset_index()
            sheets = {"": [tuple(frame.columns), *frame.itertuples(index=False)]}
        else:  # the names are read as a row, or pandas would rename the second of two equal ones
            frames = pd.read_excel(path, sheet_name=None, header=None, dtype=str, keep_default_na=False)
            sheets = {name: list(frame.itertuples(index=False)) for name, frame in frames.items()}
    except Exception as error:  # damaged files make these readers raise anything
        raise InputError(
            f"{path}: cannot be read as a table ({' '.join(str(error).split())[:120]}); save it as CSV, or say "
            "--table none"
        ) from None
    names = [name for name, lines in sheets.items() if len(lines) > 1]
    if not names:
        raise InputError(f"{path}: no rows; add the images' rows")
    notes: tuple[str, ...] = ()
    if len(names) > 1:
        notes = (f"{path.name}: sheet {names[0]!r} is read; left out: {', '.join(map(repr, names[1:]))}",)
    return LabelTable(path, _frame(path, [list(map(_text, line)) for line in sheets[names[0]]], 1), notes)


def _text(value: Any) -> str:
    """A cell as a text table would hold it."""
    if hasattr(value, "tolist"):  # a list column of Parquet
        value = value.tolist()
    if not isinstance(value, list) and pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
