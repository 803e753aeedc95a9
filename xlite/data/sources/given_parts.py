"""The parts that a data set came with: by a column of its table, or by the folders of its images."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from xlite.data.sources.cells import PARTS, UNKNOWN, flag
from xlite.data.sources.columns import Columns, part_of_flag
from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.errors import InputError


def given_parts(rows: pd.DataFrame, column: str, where: str) -> tuple[list[str], list[str]]:
    """Read a table's column of parts: part words, or 0 and 1 where it is named after a part.

    Returns:
        The part of each row, "" for those of other words, and lines to show to the user.

    Raises:
        InputError: it holds no part, or an empty cell.
    """
    values = [value.lower() for value in rows[column]]
    empty = [value in UNKNOWN for value in values]
    if any(empty):
        row = rows.index[empty.index(True)]
        raise InputError(f"{where}: row {row} has no part in {column!r}; fill it in or remove the row")
    if (part := part_of_flag(column)) and all(flag(value) is not None for value in values):
        zero = "test" if part == "train" else "train"
        ones = f"1 in {column!r} is the {part} part, 0 is {zero}"
        return [part if flag(value) == 1 else zero for value in values], [ones]
    parts = [PARTS.get(value, "") for value in values]
    if not any(parts):
        raise InputError(
            f"{where}: {column!r} names no part (it has {values[0]!r}); write train, val and test, or use another "
            "--split-column"
        )
    odd = [f"{value!r} is {PARTS[value]}" for value in sorted(set(values)) if PARTS.get(value, value) != value]
    notes = [f"parts in {column!r}: {', '.join(odd)}"] if odd else []
    if others := Counter(value for value in values if value not in PARTS):
        said = ", ".join(f"{value!r} {count}" for value, count in others.items())
        notes.append(f"left out: rows of other parts in {column!r}: {said}")
    return parts, notes


def parts_of_folders(images: Sequence[str], options: FolderOptions, where: str) -> np.ndarray | None:
    """(N,) the parts that the topmost folders are named after; None without.

    Raises:
        InputError: some images lie in such folders, others do not.
    """
    if options.split_column == NONE:
        return None
    parts = [PARTS.get(image.split("/")[0].lower()) if "/" in image else None for image in images]
    found = set(parts) - {None}
    if "train" not in found or len(found) < 2:
        return None
    if None in parts:
        raise InputError(
            f"{where}: some of its images lie in folders named after parts, others do not, e.g. "
            f"{images[parts.index(None)]}; put all there, or say --split-column none"
        )
    return np.array(parts, dtype=np.str_)


def groups_in_several(groups: np.ndarray, parts: np.ndarray) -> list[str]:
    """The groups that have images in several of the parts."""
    pairs = pd.DataFrame({"group": groups, "part": parts}).drop_duplicates()
    return pairs["group"][pairs["group"].duplicated()].unique().tolist()


def check_groups_in_one_part(groups: np.ndarray, official: np.ndarray, columns: Columns, where: str) -> None:
    """Raise InputError if images of one group are in several of the parts."""
    if shared := groups_in_several(groups, official):
        source = repr(columns.split) if columns.split else "the folders train, val and test"
        raise InputError(
            f"{where}: {columns.group or 'patient'} {shared[0]!r} is in several parts of {source} "
            f"({len(shared)} such); put each in one, or draw a new split with --split-column none"
        )
