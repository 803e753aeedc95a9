"""A split in which examples of the same picture are in one part; one that was stored without this rule is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.data.split import PARTS, Split, SplitStrategy, load_or_make_split, split_path
from xlite.data.table import Table
from xlite.data.twins import Pictures, united, with_united_groups
from xlite.errors import InputError


@dataclass(frozen=True, eq=False)
class SplitTable:
    """A split and the table it is of.

    Attributes:
        split, file: of `table`; where it is stored.
        table: the examples in use; groups with a picture in common are one.
        rows: (n,) their rows among all N examples.
        part: (N,) number of each example's part in `PARTS`, -1 for copies that are left out.
    """

    split: Split
    file: Path
    table: Table
    rows: np.ndarray
    part: np.ndarray


def split_apart(
    table: Table, pictures: Pictures, *, strategy: SplitStrategy, seed: int, folder: Path, strata: np.ndarray
) -> SplitTable:
    """Read the stored split of `table`, or read or draw one that keeps the examples of a picture together.

    The first may have been drawn without this rule; studies may have begun with it, so it stays. Of a picture that is
    in several official parts, "official" uses only the examples in test, or else those in val.

    Args:
        pictures: of the N rows.
        strategy, seed, folder, strata: as for `load_or_make_split`.

    Raises:
        InputError: as `load_or_make_split`, or every example of an official part is left out.
    """
    rows, used, number = np.arange(len(table)), table, pictures.number
    if not split_path(table, strategy=strategy, seed=seed, folder=folder).exists():
        if strategy == "official" and table.official is not None:
            rows = np.flatnonzero(~pictures.in_higher_part(table.official))
            _check_official(table, pictures, rows)
        number = number[rows]
        used = with_united_groups(table.take(rows), number)
    split, file = load_or_make_split(
        used, strategy=strategy, seed=seed, folder=folder, strata=strata[rows], pictures=number
    )
    return _split_table(split, file, used, rows, len(table))


def outer_fold(
    table: Table,
    pictures: Pictures,
    *,
    alike: Sequence[np.ndarray],
    outer: tuple[int, ...],
    strategy: SplitStrategy,
    seed: int,
    folder: Path,
    strata: np.ndarray,
) -> SplitTable:
    """One outer fold of all examples as test, with train and val drawn from the others.

    Examples of a picture, and of pictures that are almost identical, are in one part.

    Args:
        alike: sets of rows that are almost identical, see `nearly_identical`.
        outer: (fold from 1, number of folds).

    Raises:
        InputError: as `load_or_make_split`, or there are too few groups.
    """
    number = united(pictures.number, alike)
    used = with_united_groups(table, number)
    split, file = load_or_make_split(
        used, strategy=strategy, seed=seed, folder=folder, strata=strata, pictures=number, outer=outer
    )
    return _split_table(split, file, used, np.arange(len(table)), len(table))


def _split_table(split: Split, file: Path, used: Table, rows: np.ndarray, num: int) -> SplitTable:
    part = np.full(num, -1)
    for place, name in enumerate(PARTS):
        part[rows[split.rows_of(name)]] = place
    return SplitTable(split, file, used, rows, part)


def _check_official(table: Table, pictures: Pictures, rows: np.ndarray) -> None:
    """Raise InputError if a part has examples, but none among `rows`."""
    assert table.official is not None
    for part in PARTS:
        copies = np.flatnonzero(table.official == part)
        if len(copies) and not np.isin(copies, rows).any():
            original = rows[pictures.number[rows] == pictures.number[copies[0]]][0]
            raise InputError(
                f"every image of the official {part} part is in another part too (e.g. {table.ids[copies[0]]} is "
                f"{table.ids[original]}); use --split patient to draw new parts"
            )
