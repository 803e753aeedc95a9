"""Columns of a data set's tables by which its patients or images fall into groups: sex, view, age, scanner, ..."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np

from xlite.data.sources.tables import LabelTable, is_table, read_table
from xlite.errors import InputError

MAX_GROUPS = 12
_MOST_VALUES = 8  # a column with more different numbers is cut into ranges
_AGES = (18, 40, 65)
_SAME_WORDS = {"gender": "sex", "viewposition": "view"}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)()")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD])?", re.IGNORECASE)  # DICOM's and NIH's: 058Y, 007M, 003W, 012D
_PER_YEAR = {"Y": 1, "M": 12, "W": 52, "D": 365}
_BLANK = {"", "nan", "na", "n/a", "none", "null", "unknown", "?"}


@dataclass(frozen=True, eq=False)
class Grouping:
    """One column's groups.

    Attributes:
        name: the column's, as the table has it.
        values: (N,) unicode, "" where it is not known.
        cut: how numbers were cut, "" if they were not.
    """

    name: str
    values: np.ndarray
    cut: str = ""

    @property
    def note(self) -> str:
        """A line to say: the subgroups and their sizes."""
        names, counts = np.unique(self.values[self.values != ""], return_counts=True)
        unknown = f", not known of {num:,}" if (num := int((self.values == "").sum())) else ""
        sizes = ", ".join(f"{name} {count:,}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
        return f"Subgroups by {self.name!r}{self.cut}: {sizes}{unknown}"

    def take(self, chosen: np.ndarray) -> "Grouping":
        """Of the examples that `chosen` (N,) bool names."""
        return replace(self, values=self.values[chosen])


@dataclass(frozen=True, eq=False)
class Column:
    """A column that was asked for by a name; `tables` have it."""

    asked: str
    name: str
    tables: tuple[LabelTable, ...]


def find_columns(folder: Path, asked: Sequence[str]) -> list[Column]:
    """For each name asked for, the column of tables in `folder`.

    Case and punctuation do not count unless columns differ by nothing else, a name may be some of the column's words
    ("sex": "Patient Sex"), and gender is sex.

    Raises:
        InputError: no such column, or several.
    """
    if not asked:
        return []
    tables = [table for path in sorted(folder.iterdir()) if is_table(path) and (table := _readable(path)) is not None]
    return [_column(folder, name, tables) for name in asked]


def _readable(path: Path) -> LabelTable | None:
    try:
        return read_table(path)
    except InputError:  # a text file that is no table, or one that nothing was asked of
        return None


def _column(folder: Path, name: str, tables: Sequence[LabelTable]) -> Column:
    found = [(table, str(column)) for table in tables for column in table.rows.columns if _names(name, str(column))]
    same_words = [(table, column) for table, column in found if _words(column) == _words(name)]
    found = [(table, column) for table, column in found if column == name] or same_words or found
    columns = sorted({column for _, column in found})
    if len(columns) > 1:
        raise InputError(f"--subgroup {name}: it could be {' or '.join(columns)}; write one of them")
    if not found:
        there = ", ".join(sorted({str(column) for table in tables for column in table.rows.columns})[:20]) or "none"
        raise InputError(f"--subgroup {name}: no table in {folder} has such a column; there are {there}")
    return Column(name, columns[0], tuple(table for table, _ in found))


def join(asked: Column, ids: np.ndarray, groups: np.ndarray) -> Grouping:
    """The column's value for each of N examples.

    A table says which example a row is of by its id (with folders and suffix or without) or by its patient. Columns of
    many different numbers are cut: ages at 18, 40 and 65, others at their quartiles.

    Raises:
        InputError: none of its rows is of these examples; one group or more than MAX_GROUPS.
    """
    name, column, keys = asked.asked, asked.name, _keys(ids, groups)
    values = max((_values(table, column, keys) for table in asked.tables), key=lambda values: (values != "").sum())
    if not (values != "").any():
        raise InputError(
            f"--subgroup {name}: no row of {asked.tables[0].path.name} gives an image or patient one {column}; its "
            "rows must name images or patients as the labels do"
        )
    values, how = _ranges(values, is_age="age" in _words(column))
    names = np.unique(values[values != ""])
    if not 2 <= len(names) <= MAX_GROUPS:
        what = (
            f"all images are {str(names[0])!r}" if len(names) == 1 else f"{len(names)} groups, more than {MAX_GROUPS}"
        )
        raise InputError(f"--subgroup {name}: {what} in {column!r}; name another column")
    return Grouping(column, values, how)


def _words(name: str) -> list[str]:
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return [_SAME_WORDS.get(word, word) for word in words]


def _names(asked: str, column: str) -> bool:
    return bool(_words(asked)) and set(_words(asked)) <= set(_words(column))


def _keys(ids: np.ndarray, groups: np.ndarray) -> list[list[str]]:
    """Ways to write which example a row is of, the most exact first: N texts each."""
    whole = ids.tolist()
    names = [PurePath(name).name for name in whole]
    before = [name.partition(":")[0] for name in whole]  # a window of a scan is "scan:0032"
    return [whole, names, [PurePath(name).stem for name in names], before, groups.tolist()]


def _values(table: LabelTable, column: str, keys: Sequence[Sequence[str]]) -> np.ndarray:
    """(N,) the column's text for each example, by the key and the table's column that fit most of them."""
    best = np.full(len(keys[0]), "", dtype=object)
    texts = table.rows[column].map(lambda text: "" if text.casefold() in _BLANK else text)
    known = texts != ""
    for kind in keys:
        wanted = set(kind)
        for other in table.rows.columns:
            own = table.rows[other]
            if other == column or not own.isin(wanted).any():
                continue
            values = texts[known].groupby(own[known])
            one_value = values.first()[values.nunique() == 1].to_dict()
            found = np.array([one_value.get(key, "") for key in kind], dtype=object)
            if (found != "").sum() > (best != "").sum():
                best = found
    return best.astype(str)


def _ranges(values: np.ndarray, *, is_age: bool) -> tuple[np.ndarray, str]:
    """The values, numbers of many different sizes as ranges; and how they were cut."""
    known = values != ""
    matches = [(_AGE if is_age else _NUMBER).fullmatch(text) for text in values[known].tolist()]
    numbers = np.array([float(match[1]) / _PER_YEAR[(match[2] or "Y").upper()] for match in matches if match])
    if len(numbers) < known.sum() or len(np.unique(numbers)) <= _MOST_VALUES:
        return values, ""
    edges = np.array(_AGES, dtype=float) if is_age else np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    whole = (numbers == numbers.round()).all() and (edges == edges.round()).all()
    ranges = [f"{a:g} to {b - 1:g}" if whole else f"{a:g} to below {b:g}" for a, b in pairwise(edges)]
    names = [f"below {edges[0]:g}", *ranges, f"from {edges[-1]:g}"]
    out = np.full(len(values), "", dtype="<U32")
    out[known] = np.array(names)[np.searchsorted(edges, numbers, side="right")]
    return out, ", cut at " + ", ".join(f"{edge:g}" for edge in edges)
