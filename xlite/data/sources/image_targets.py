"""Turns label columns or class names into targets: (N, L) of 0, 1 or NaN (unknown)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xlite.data.sources.columns import Columns, LabelKind, split_names, zero_one
from xlite.errors import InputError

NO_LABEL = ("no finding", "no findings", "nofinding", "normal", "none", "healthy")
_NEGATIVE = (*NO_LABEL, "negative", "control", "benign", "absent", "no", "0", "false")
_NUM_SHOWN = 40


@dataclass(frozen=True)
class Targets:
    """The targets of a data set, for `Table` and `ParsedDataset`.

    Attributes:
        values: (N, L) float32 of 0, 1 or NaN.
        labels: L names.
        notes: lines to show to the user.
    """

    values: np.ndarray
    labels: tuple[str, ...]
    kind: str
    notes: tuple[str, ...]


def table_targets(rows: pd.DataFrame, columns: Columns, kind: LabelKind | None, where: str) -> Targets:
    """The targets of a table's rows.

    In a column of joined names, a name such as "No Finding" (`NO_LABEL`) that is never joined to another one is not a
    label: its rows are 0 in all labels. If it is joined to another one anywhere, it is a label like any other.

    Args:
        kind: given by the user; None: decided by the form of the columns.
        where: the table's path, which begins each error message.

    Raises:
        InputError: a value that is not 0/1; an empty joined value if no name means "none"; classes that do not fit
            `kind`; fewer than two classes; a label without positives.
    """
    if columns.form == "columns":
        values = np.array([[zero_one(text) for text in rows[name]] for name in columns.labels], dtype=np.float32).T
        if kind == "multiclass":
            return _one_hot_columns(values, columns.labels, rows.index, where)
        return _multilabel(values, columns.labels, _exclusive_note(values, kind), where)
    if columns.form == "joined":
        assert columns.separator is not None
        return _joined(rows[columns.labels[0]], columns.separator, where)
    return class_targets(rows[columns.labels[0]].tolist(), kind, where)


def class_targets(classes: Sequence[str], kind: LabelKind | None, where: str) -> Targets:
    """One class per example ("" is unknown) as one-hot rows, or with `kind` "binary" two classes as one label.

    The negative one of two classes is the one with a name such as normal, control, no or 0, else the first by name.

    Raises:
        InputError: fewer than two classes, or not two where `kind` is "binary".
    """
    names = _in_order({name for name in classes if name})
    if len(names) < 2:
        found = f"the only class is {names[0]!r}" if names else "no image has a class"
        raise InputError(f"{where}: {found}; label images of at least 2 classes")
    codes = pd.Categorical([name or None for name in classes], categories=names).codes
    notes = tuple(f"{a!r} and {b!r} differ only in case and are two classes" for a, b in _case_variants(names))
    if kind == "binary":
        if len(names) != 2:
            raise InputError(f"{where}: --kind binary needs 2 classes, but there are {len(names)}: {', '.join(names)}")
        positive = 0 if names[1].lower() in _NEGATIVE and names[0].lower() not in _NEGATIVE else 1
        values = np.where(codes < 0, np.nan, codes == positive).astype(np.float32)[:, None]
        note = f"binary: {names[positive]!r} is 1, {names[1 - positive]!r} is 0"
        return _multilabel(values, (names[positive],), (note, *notes), where)
    values = np.eye(len(names), dtype=np.float32)[codes]
    values[codes < 0] = np.nan
    return Targets(values, tuple(names), "multiclass", (_counts("multiclass", values, names), *notes))


def _in_order(names: set[str]) -> list[str]:
    """Sorted by value if all are whole numbers, else by name."""
    return sorted(names, key=lambda name: (int(name), name)) if all(map(_is_count, names)) else sorted(names)


def _is_count(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10


def _case_variants(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in case only."""
    by_folded: dict[str, list[str]] = {}
    for name in names:
        by_folded.setdefault(name.casefold(), []).append(name)
    return [(same[0], same[1]) for same in by_folded.values() if len(same) > 1]


def _multilabel(values: np.ndarray, labels: Sequence[str], notes: tuple[str, ...], where: str) -> Targets:
    """Independent labels, after a check that each can be learned."""
    positives, negatives = ((values == value).sum(axis=0) for value in (1, 0))
    if not positives.any():
        raise InputError(f"{where}: no image has any of the {len(labels)} labels; use a table with positives")
    for label, count in zip(labels, positives, strict=True):
        if count == 0:
            raise InputError(
                f"{where}: the label {label!r} is 0 or unknown in every row; leave it out by naming the others, each "
                "with --label-column"
            )
    if not negatives.any():
        raise InputError(f"{where}: no label is 0 in any row; use a table with negatives")
    always = [label for label, count in zip(labels, negatives, strict=True) if count == 0]
    if always:
        notes = (*notes, f"never 0: {', '.join(always)}")
    return Targets(values, tuple(labels), "multilabel", (_counts("multilabel", values, labels), *notes))


def _counts(kind: str, values: np.ndarray, labels: Sequence[str]) -> str:
    """One line: the kind, and each label with its positives and unknown rows."""
    shown = []
    for i, label in enumerate(labels[:_NUM_SHOWN]):
        unknown = int(np.isnan(values[:, i]).sum()) if kind == "multilabel" else 0
        shown.append(f"{label} {int((values[:, i] == 1).sum())}" + (f" ({unknown} unknown)" if unknown else ""))
    more = f" and {len(labels) - _NUM_SHOWN} more" if len(labels) > _NUM_SHOWN else ""
    none, unknown = int((values == 0).all(axis=1).sum()), int(np.isnan(values).all(axis=1).sum())
    tail = (f"; {none} images with none" if none else "") + (f"; {unknown} images unknown" if unknown else "")
    unit = "classes" if kind == "multiclass" else "label" if len(labels) == 1 else "labels"
    return f"kind: {kind}, {len(labels)} {unit}: {', '.join(shown)}{more}{tail}"


def _exclusive_note(values: np.ndarray, kind: LabelKind | None) -> tuple[str, ...]:
    """A note if the labels look like classes and the user gave no kind."""
    if kind is None and values.shape[1] > 1 and (np.nansum(values, axis=1) == 1).all():
        return ("every image has exactly one of the labels; if they exclude one another, use --kind multiclass",)
    return ()


def _one_hot_columns(values: np.ndarray, labels: Sequence[str], row_numbers: pd.Index, where: str) -> Targets:
    """Classes from 0/1 columns of which each row has exactly one 1, or nothing."""
    unknown = np.isnan(values).all(axis=1)
    wrong = ~unknown & ((values == 1).sum(axis=1) != 1)
    values = np.where(np.isnan(values), np.float32(0), values)
    values[unknown] = np.nan
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"{where}: row {row_numbers[first]} has {int((values[first] == 1).sum())} classes; --kind multiclass needs "
            "exactly one (or an empty row)"
        )
    seen = (values == 1).any(axis=0)
    if not seen.all():
        raise InputError(f"{where}: no image is of class {labels[int(np.argmin(seen))]!r}; leave out its column")
    return Targets(values, tuple(labels), "multiclass", (_counts("multiclass", values, labels),))


def _joined(column: "pd.Series[str]", separator: str, where: str) -> Targets:
    """Labels from a column of joined names; see `table_targets`."""
    joined = [split_names(text, separator) for text in column]
    joined_names = {name for names in joined if len(set(names)) > 1 for name in names}
    counts = Counter(name for names in joined for name in set(names))
    no_label = {
        n for n in counts if n.lower().replace("_", " ").replace("-", " ") in NO_LABEL and n not in joined_names
    }
    labels = _in_order(set(counts) - no_label)
    empty = [not names for names in joined]
    if any(empty) and not no_label:
        raise InputError(
            f"{where}: row {column.index[empty.index(True)]} ({sum(empty)} such) has no names in {column.name!r}: none "
            "or unknown? write 'No Finding' in rows without a label; empty rows are then unknown"
        )
    if not labels:
        raise InputError(f"{where}: no image has any label in {column.name!r}; use a column with labels")
    index_of = {label: i for i, label in enumerate(labels)}
    values = np.zeros((len(column), len(labels)), dtype=np.float32)
    for row, names in enumerate(joined):
        values[row, [index_of[name] for name in names if name in index_of]] = 1
    values[empty] = np.nan
    notes = [f"{', '.join(sorted(no_label))} in {column.name!r} means no label"] if no_label else []
    notes += [f"{a!r} and {b!r} differ only in case and are two labels" for a, b in _case_variants(labels)]
    return _multilabel(values, labels, tuple(notes), where)
