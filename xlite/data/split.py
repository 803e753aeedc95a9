"""The split into training, validation and test rows: drawn once with patients kept whole, then read from its file."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from xlite.data.stratify import row_targets, stratified_group_split
from xlite.data.table import Table
from xlite.errors import InputError
from xlite.storage.files import write_text
from xlite.storage.text import csv_text, unescape_cell

Part = Literal["train", "val", "test"]
SplitStrategy = Literal["patient", "official", "image"]
PARTS: tuple[Part, ...] = get_args(Part)
FRACTIONS = (0.70, 0.15, 0.15)
"""Of the rows for train, val and test, where the split is drawn."""
OFFICIAL_VAL_FRACTION = 1 / 8
AUTO_SUBSET, AUTO_SUBSET_ABOVE = 0.2, 20_000


@dataclass(frozen=True, eq=False)
class Split:
    """A table's rows in three parts.

    Attributes:
        train, val, test: (n,) int64, sorted, disjoint, none empty; together all rows but those held out (`hold_out`).
        strategy, seed: how the split was drawn.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    strategy: str
    seed: int

    def rows_of(self, part: Part) -> np.ndarray:
        """(n,) int64: the rows of one part."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def content_hash(self, table: Table) -> str:
        """16 hex digits over the ids of each part; strategy, seed and order do not matter."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(f"\1{part}\0".encode())
            digest.update("\0".join(sorted(table.ids[self.rows_of(part)].tolist())).encode())
        return digest.hexdigest()[:16]


def make_split(
    table: Table,
    *,
    strategy: SplitStrategy,
    seed: int,
    strata: np.ndarray | None = None,
    pictures: np.ndarray | None = None,
    outer: tuple[int, ...] = (),
) -> Split:
    """Draw a stratified split (see `stratified_group_split`).

    Args:
        strategy: "patient" keeps groups whole; "image" ignores groups and gives exact sizes; "official" uses the data
            set's lists; in place of a missing validation or test list it draws an eighth of the training list, with
            groups kept whole.
        strata: (N, K) of 0, 1 or NaN, see `TargetSpec.strata`; default: all labels.
        pictures: (N,) numbers; "image" keeps rows with the same number together. Default: all differ.
        outer: (fold from 1, number of folds): that outer fold of all rows is test, val is drawn from the others.

    Raises:
        InputError: too few rows or groups for the parts, or no usable official lists.
    """
    rng = np.random.default_rng(seed)
    strata = row_targets(table.targets) if strata is None else strata
    if outer:
        whole = pictures if strategy == "image" and pictures is not None else table.groups
        part = _outer_parts(strata, whole, outer, seed)
    elif strategy == "official":
        part = _official_parts(table, strata, rng)
    elif strategy == "patient":
        _check_groups(table, np.arange(len(table)), len(PARTS), "train, val and test")
        part = stratified_group_split(strata, table.groups, FRACTIONS, rng)
    else:
        num_pictures = len(table) if pictures is None else len(np.unique(pictures))
        if num_pictures < len(PARTS):
            raise InputError(f"{num_pictures} images cannot fill train, val and test; add images")
        part = stratified_group_split(strata, pictures if num_pictures < len(table) else None, FRACTIONS, rng)
    return _split_of(part, strategy, seed)


def _outer_parts(strata: np.ndarray, whole: np.ndarray, outer: tuple[int, ...], seed: int) -> np.ndarray:
    """(N,) part numbers: test is one of K outer folds, the same K for every fold; `whole` (N,) stay together."""
    fold, num_folds = outer
    dealt = deal(strata, whole, num_folds, seed=[seed, num_folds], option="--outer-folds")
    part = np.full(len(whole), PARTS.index("test"))
    rest = np.flatnonzero(dealt != fold - 1)
    if len(np.unique(whole[rest])) < 2:
        raise InputError(
            f"--outer-folds {num_folds}: one group (patient) cannot fill train and val beside an outer fold"
        )
    share = FRACTIONS[1] / (FRACTIONS[0] + FRACTIONS[1])
    rng = np.random.default_rng([seed, num_folds, fold])
    part[rest] = stratified_group_split(strata[rest], whole[rest], (1 - share, share), rng)
    return part


def deal(strata: np.ndarray, whole: np.ndarray, num_folds: int, *, seed: list[int], option: str) -> np.ndarray:
    """(N,) fold of each row, from 0: of about the same size, strata kept; rows with the same of `whole` (N,) together.

    Raises:
        InputError: there are fewer such groups than folds; the line names the `option`.
    """
    if (num_groups := len(np.unique(whole))) < num_folds:
        raise InputError(f"{option} {num_folds}: there are only {num_groups} groups (patients) to deal out")
    shares = tuple([1 / num_folds] * num_folds)
    return stratified_group_split(strata, whole, shares, np.random.default_rng(seed))


def _split_of(part: np.ndarray, strategy: str, seed: int) -> Split:
    """The split of part numbers (N,)."""
    train, val, test = (np.flatnonzero(part == number) for number in range(len(PARTS)))
    return Split(train, val, test, strategy, seed)


def _check_groups(table: Table, rows: np.ndarray, num_parts: int, parts: str) -> None:
    """Raise InputError if `rows` have fewer groups than there are parts; `parts` names these in the message."""
    num_groups = len(np.unique(table.groups[rows]))
    if num_groups < num_parts:
        raise InputError(
            f"{len(rows)} images of {num_groups} patients cannot fill {parts} with patients kept whole; "
            "add images of other patients"
        )


def _official_parts(table: Table, strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) part numbers from the official lists."""
    if table.official is None:
        raise InputError("the data set has no official train and test lists; add them or use --split patient")
    given = set(table.official.tolist())
    if "train" not in given or len(given) < 2:
        missing = "test" if "train" in given else "train"
        raise InputError(f"none of the {len(table)} images is on the official {missing} list; use --split patient")
    part = np.array([PARTS.index(name) for name in table.official.tolist()])
    if lacking := [name for name in ("val", "test") if name not in given]:
        rows = np.flatnonzero(table.official == "train")
        _check_groups(table, rows, 2, f"train and {lacking[0]}")
        fractions = (1 - OFFICIAL_VAL_FRACTION, OFFICIAL_VAL_FRACTION)
        drawn = stratified_group_split(strata[rows], table.groups[rows], fractions, rng)
        part[rows[drawn == 1]] = PARTS.index(lacking[0])
    return part


def check_split(table: Table, split: Split) -> tuple[str, ...]:
    """Find labels that cannot be learned or measured.

    Returns:
        One line for each part with labels that have no positives, or no negatives, in it.

    Raises:
        InputError: train or val has no label with both positives and negatives.
    """
    notes = []
    for part in PARTS:
        targets = table.targets[split.rows_of(part)].reshape(-1, len(table.labels))
        has = {"positives": (targets == 1).any(axis=0), "negatives": (targets == 0).any(axis=0)}
        if not (has["positives"] & has["negatives"]).any():
            nothing = f"no label has both positives and negatives in the {len(targets)} images of the {part} part"
            if part != "test":
                raise InputError(f"{nothing}; add images, or try another seed or --split")
            notes.append(
                f"{nothing}: nothing can be tested on it, so a promotion would fail; "
                "add images, try another seed or --split, or --no-promote"
            )
            continue
        left_out = "" if part == "train" else ": left out of its averages"
        for sign, present in has.items():
            if names := [label for label, some in zip(table.labels, present, strict=True) if not some]:
                notes.append(f"the {part} part has no {sign} of {', '.join(names)}{left_out}")
    return tuple(notes)


def subset(
    table: Table, rows: np.ndarray, fraction: float, *, seed: int, strata: np.ndarray | None = None
) -> np.ndarray:
    """Draw about `fraction` of `rows` with groups kept whole, stratified.

    Args:
        fraction: above 0, up to 1.
        strata: as in `make_split`.

    Returns:
        (n,) int64, sorted.

    Raises:
        InputError: all rows are of one group.
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if fraction == 1:
        return rows
    assert 0 < fraction < 1, fraction
    _check_groups(table, rows, 2, "a subset and the rest")
    strata = row_targets(table.targets) if strata is None else strata
    part = stratified_group_split(
        strata[rows], table.groups[rows], (fraction, 1 - fraction), np.random.default_rng(seed)
    )
    return rows[part == 0]


def resolve_subset(value: str | float, num_train: int) -> float:
    """The fraction of the training rows for a `--subset` value; "auto" is 0.2 above 20,000 training rows, else 1.

    Raises:
        InputError: `value` is neither "auto" nor a number above 0 and up to 1.
    """
    if value == "auto":
        return AUTO_SUBSET if num_train > AUTO_SUBSET_ABOVE else 1.0
    try:
        fraction = float(value)
    except ValueError:
        fraction = np.nan
    if not 0 < fraction <= 1:
        raise InputError(f"--subset {value}: use auto or a number above 0 and up to 1")
    return fraction


def split_path(table: Table, *, strategy: SplitStrategy, seed: int, folder: Path, outer: tuple[int, ...] = ()) -> Path:
    """The file in `folder` that stores, or would store, the split of this table, strategy, seed and outer fold."""
    fold = f"_outer{outer[0]}of{outer[1]}" if outer else ""
    return folder / f"split_{strategy}_seed{seed}{fold}_{table.content_hash()}.csv"


def load_or_make_split(
    table: Table,
    *,
    strategy: SplitStrategy,
    seed: int,
    folder: Path,
    strata: np.ndarray | None = None,
    pictures: np.ndarray | None = None,
    outer: tuple[int, ...] = (),
) -> tuple[Split, Path]:
    """Read the stored split of this table, strategy, seed and outer fold, or draw it and store it in `folder`.

    The file is a CSV of id and part, below one comment line with the split's content hash.

    Args:
        strata, pictures, outer: as in `make_split`.

    Returns:
        The split and its file.

    Raises:
        InputError: as `make_split`; the stored file does not match its hash or the table.
    """
    path = split_path(table, strategy=strategy, seed=seed, folder=folder, outer=outer)
    if path.exists():
        return _read_split(path, table, strategy, seed), path
    split = make_split(table, strategy=strategy, seed=seed, strata=strata, pictures=pictures, outer=outer)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, _as_csv(table, split))
    return split, path


def _heading(strategy: str, seed: int, content_hash: str) -> str:
    return f"# kind={strategy} seed={seed} content_hash={content_hash}"


def _as_csv(table: Table, split: Split) -> str:
    names = np.empty(len(table), dtype="<U5")
    for part in PARTS:
        names[split.rows_of(part)] = part
    heading = _heading(split.strategy, split.seed, split.content_hash(table)) + "\n"
    return heading + csv_text([("id", "part"), *zip(table.ids.tolist(), names.tolist(), strict=True)])


def _read_split(path: Path, table: Table, strategy: str, seed: int) -> Split:
    """Read a stored split; a file that was changed since is an InputError."""
    damaged = InputError(f"{path}: changed or truncated since it was written; delete it to draw the split again")
    try:
        heading, _, body = path.read_bytes().decode("utf-8").partition("\n")
        header, *lines = csv.reader(io.StringIO(body, newline=""))
        part_of = {unescape_cell(name): PARTS.index(part) for name, part in lines}
        part = np.array([part_of[name] for name in table.ids.tolist()])
    except (ValueError, KeyError, csv.Error):
        raise damaged from None
    split = _split_of(part, strategy, seed)
    if header != ["id", "part"] or len(lines) != len(table):
        raise damaged
    if heading != _heading(strategy, seed, split.content_hash(table)):
        raise damaged
    return split
