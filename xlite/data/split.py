"""Training, validation and test rows: drawn with patients whole, stored once, re-read ever after."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from xlite.data.stratify import stratified_group_split
from xlite.data.table import Table
from xlite.errors import InputError
from xlite.storage.files import write_text
from xlite.storage.text import csv_text, unescape_cell

Part = Literal["train", "val", "test"]
SplitStrategy = Literal["patient", "official", "image"]
PARTS: tuple[Part, ...] = get_args(Part)
FRACTIONS = (0.70, 0.15, 0.15)
OFFICIAL_VAL_FRACTION = 1 / 8
AUTO_SUBSET, AUTO_SUBSET_ABOVE = 0.2, 20_000


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a table: `train`, `val` and `test` are sorted (n,) int64, disjoint, and cover it; none is empty."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    kind: str
    seed: int

    def fold(self, part: Part) -> np.ndarray:
        """The rows of one part."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def content_hash(self, table: Table) -> str:
        """16 hex digits over which ids stand in which part; how they came there and their order do not count."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(f"\1{part}\0".encode())
            digest.update("\0".join(sorted(table.ids[self.fold(part)].tolist())).encode())
        return digest.hexdigest()[:16]


def make_split(
    table: Table, *, kind: SplitStrategy, seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> Split:
    """Draw a split, stratified on all labels (see `stratify.deal`).

    Args:
        kind: "patient" keeps groups whole; "image" ignores them and makes the sizes exact; "official" takes the test
            list as it is and, where there is no validation list, an eighth of the train_val list, groups whole.
        fractions: of the rows for train, val and test, summing to 1; "official" does not use it.

    Raises:
        InputError: too few rows or groups for three parts, or no usable official lists.
    """
    assert min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-9, fractions
    rng = np.random.default_rng(seed)
    if kind == "official":
        part = _official_parts(table, rng)
    elif kind == "patient":
        _check_groups(table, np.arange(len(table)), len(PARTS), "train, val and test")
        part = stratified_group_split(table.row_targets, table.groups, fractions, rng)
    else:
        if len(table) < len(PARTS):
            raise InputError(f"{len(table)} images cannot fill train, val and test; add images")
        part = stratified_group_split(table.row_targets, None, fractions, rng)
    return _split_of(part, kind, seed)


def _split_of(part: np.ndarray, kind: str, seed: int) -> Split:
    train, val, test = (np.flatnonzero(part == number) for number in range(len(PARTS)))
    return Split(train, val, test, kind, seed)


def _check_groups(table: Table, rows: np.ndarray, num_parts: int, parts: str) -> None:
    num_groups = len(np.unique(table.groups[rows]))
    if num_groups < num_parts:
        raise InputError(
            f"{len(rows)} images of {num_groups} patients cannot fill {parts} with patients kept whole; "
            "add images of other patients"
        )


def _official_parts(table: Table, rng: np.random.Generator) -> np.ndarray:
    """(N,) part numbers by the official lists."""
    if table.official is None:
        raise InputError("the data set has no official train and test lists; put them beside it or use --split patient")
    for name in ("train", "test"):
        if not (table.official == name).any():
            raise InputError(f"none of the {len(table)} images is on the official {name} list; use --split patient")
    if (table.official == "val").any():
        return np.array([PARTS.index(name) for name in table.official.tolist()])
    rows = np.flatnonzero(table.official == "train")
    _check_groups(table, rows, 2, "train and val")
    part = np.full(len(table), PARTS.index("test"))
    fractions = (1 - OFFICIAL_VAL_FRACTION, OFFICIAL_VAL_FRACTION)
    part[rows] = stratified_group_split(table.row_targets[rows], table.groups[rows], fractions, rng)
    return part


def label_counts(table: Table, split: Split) -> dict[Part, np.ndarray]:
    """(L,) int64 positives of each label, by part."""
    return {part: (table.row_targets[split.fold(part)] == 1).sum(axis=0) for part in PARTS}


def check_split(table: Table, split: Split) -> tuple[str, ...]:
    """Lines naming the labels that a part has no positives or no negatives of.

    Raises:
        InputError: train or val has positives and negatives of no label at all.
    """
    notes = []
    for part in PARTS:
        targets = table.targets[split.fold(part)].reshape(-1, len(table.labels))
        has = {"positives": (targets == 1).any(axis=0), "negatives": (targets == 0).any(axis=0)}
        if part != "test" and not (has["positives"] & has["negatives"]).any():
            raise InputError(
                f"no label has both positives and negatives in the {len(targets)} images of the {part} part; "
                "add images, or try another seed or --split"
            )
        for sign, there in has.items():
            if names := [label for label, some in zip(table.labels, there, strict=True) if not some]:
                notes.append(f"the {part} part has no {sign} of {', '.join(names)}")
    return tuple(notes)


def subset(table: Table, rows: np.ndarray, fraction: float, *, seed: int) -> np.ndarray:
    """About `fraction` of `rows` with groups whole, stratified as a split is; sorted int64.

    Raises:
        InputError: the rows are of a single group.
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if fraction == 1:
        return rows
    assert 0 < fraction < 1, fraction
    _check_groups(table, rows, 2, "a subset and its rest")
    part = stratified_group_split(
        table.row_targets[rows], table.groups[rows], (fraction, 1 - fraction), np.random.default_rng(seed)
    )
    return rows[part == 0]


def resolve_subset(value: str | float, num_train: int) -> float:
    """The fraction that `--subset` means: "auto" is 0.2 for more than 20,000 training images, else 1.

    Raises:
        InputError: neither "auto" nor a number above 0 and up to 1.
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


def load_or_make_split(table: Table, *, kind: SplitStrategy, seed: int, folder: Path) -> tuple[Split, Path]:
    """The stored split of this table, kind and seed; drawn and stored in `folder` the first time.

    The file is a CSV of id and part below one comment line with the split's content hash.

    Raises:
        InputError: as `make_split`; a stored file that does not fit its hash or the table.
    """
    path = folder / f"split_{kind}_seed{seed}_{table.content_hash()}.csv"
    if path.exists():
        return _read_split(path, table, kind, seed), path
    split = make_split(table, kind=kind, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, _as_csv(table, split))
    return split, path


def _heading(kind: str, seed: int, content_hash: str) -> str:
    return f"# kind={kind} seed={seed} content_hash={content_hash}"


def _as_csv(table: Table, split: Split) -> str:
    names = np.empty(len(table), dtype="<U5")
    for part in PARTS:
        names[split.fold(part)] = part
    heading = _heading(split.kind, split.seed, split.content_hash(table)) + "\n"
    return heading + csv_text([("id", "part"), *zip(table.ids.tolist(), names.tolist(), strict=True)])


def _read_split(path: Path, table: Table, kind: str, seed: int) -> Split:
    """Read a stored split back; whatever is not as it was written is an InputError."""
    refusal = InputError(f"{path}: changed or cut short since it was written; delete it to draw the split anew")
    try:
        heading, _, body = path.read_bytes().decode("utf-8").partition("\n")
        header, *lines = csv.reader(io.StringIO(body, newline=""))
        part_of = {unescape_cell(name): PARTS.index(part) for name, part in lines}
        part = np.array([part_of[name] for name in table.ids.tolist()])
    except (ValueError, KeyError, csv.Error):
        raise refusal from None
    split = _split_of(part, kind, seed)
    if header != ["id", "part"] or len(lines) != len(table):
        raise refusal
    if heading != _heading(kind, seed, split.content_hash(table)):
        raise refusal
    return split
