"""From a label table's columns, or from class folders, to targets: (N, L) of 0, 1 and unknown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xlite.data.sources import TargetKind
from xlite.data.sources.columns import Columns, LabelKind, split_names, zero_one
from xlite.errors import InputError

NO_LABEL = ("no finding", "no findings", "nofinding", "normal", "none", "healthy")
_NEGATIVE = (*NO_LABEL, "negative", "control", "benign", "absent", "no", "0", "false")
_NUM_SHOWN = 40


@dataclass(frozen=True)
class Targets:
    """What `Table` and `Reading` hold of labels: values (N, L) float32 of 0, 1 or NaN, their names and kind."""

    values: np.ndarray
    labels: tuple[str, ...]
    kind: TargetKind
    notes: tuple[str, ...]


def table_targets(rows: pd.DataFrame, columns: Columns, kind: LabelKind | None, where: str) -> Targets:
    """The targets of a table's rows.

    In a column of joined names a name that means nothing was found (`NO_LABEL`) and never stands beside another name
    is no label: its rows are 0 in all labels. Beside another it is a label like any other.

    Args:
        where: the table's path, which begins each error.

    Raises:
        InputError: a value that is no 0/1, an empty joined value where nothing says whether that means none, a class
            that fits not `kind`, fewer than two classes, a label without a positive.
    """
    if columns.form == "columns":
        values = np.array([[zero_one(text) for text in rows[name]] for name in columns.labels], dtype=np.float32).T
        if kind == "multiclass":
            return _one_hot_columns(values, columns.labels, rows.index, where)
        return _several(values, columns.labels, _exclusive_note(values, kind), where, "in every row")
    if columns.form == "joined":
        assert columns.separator is not None
        return _joined(rows[columns.labels[0]], columns.separator, where)
    return class_targets(rows[columns.labels[0]].tolist(), kind, where)


def class_targets(classes: Sequence[str], kind: LabelKind | None, where: str) -> Targets:
    """One class an example ("" = unknown): a one-hot row, or with `kind` "binary" the one label of two classes.

    The negative of two classes is the one named like one (normal, control, no, 0 ...), else the first by name.

    Raises:
        InputError: fewer than two classes, or not two where `kind` is "binary".
    """
    names = _in_order({name for name in classes if name})
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no class"
        raise InputError(f"{where}: {found} is there; at least 2 classes are needed")
    codes = pd.Categorical([name or None for name in classes], categories=names).codes
    notes = tuple(f"{a!r} and {b!r} differ in case only and are two classes" for a, b in _alike(names))
    if kind == "binary":
        if len(names) != 2:
            raise InputError(f"{where}: --kind binary needs 2 classes, but there are {len(names)}: {', '.join(names)}")
        positive = 0 if names[1].lower() in _NEGATIVE and names[0].lower() not in _NEGATIVE else 1
        values = np.where(codes < 0, np.nan, codes == positive).astype(np.float32)[:, None]
        note = f"binary: {names[positive]!r} is 1, {names[1 - positive]!r} is 0"
        return _several(values, (names[positive],), (note, *notes), where, "in every row")
    values = np.eye(len(names), dtype=np.float32)[codes]
    values[codes < 0] = np.nan
    return Targets(values, tuple(names), "multiclass", (_counts("multiclass", values, names), *notes))


def _in_order(names: set[str]) -> list[str]:
    """Sorted, as numbers where all are."""
    return sorted(names, key=lambda name: (int(name), name)) if all(map(_is_count, names)) else sorted(names)


def _is_count(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10


def _alike(names: Sequence[str]) -> list[tuple[str, str]]:
    by_folded: dict[str, list[str]] = {}
    for name in names:
        by_folded.setdefault(name.casefold(), []).append(name)
    return [(same[0], same[1]) for same in by_folded.values() if len(same) > 1]


def _several(values: np.ndarray, labels: Sequence[str], notes: tuple[str, ...], where: str, nowhere: str) -> Targets:
    """Labels that may stand together, after a check that each can be learned."""
    positives, negatives = ((values == value).sum(axis=0) for value in (1, 0))
    if not positives.any():
        raise InputError(f"{where}: no image has any of the {len(labels)} labels; there is nothing to learn from it")
    for label, count in zip(labels, positives, strict=True):
        if count == 0:
            raise InputError(
                f"{where}: the label {label!r} is 0 or unknown {nowhere}; leave it out by naming the others, each with "
                "--label-column"
            )
    if not negatives.any():
        raise InputError(f"{where}: no label is 0 in any row; there is nothing to tell apart")
    always = [label for label, count in zip(labels, negatives, strict=True) if count == 0]
    if always:
        notes = (*notes, f"never 0: {', '.join(always)}")
    return Targets(values, tuple(labels), "multilabel", (_counts("multilabel", values, labels), *notes))


def _counts(kind: str, values: np.ndarray, labels: Sequence[str]) -> str:
    """One line: the kind, and each label with its positives and unknowns."""
    shown = []
    for i, label in enumerate(labels[:_NUM_SHOWN]):
        unknown = int(np.isnan(values[:, i]).sum()) if kind == "multilabel" else 0
        shown.append(f"{label} {int((values[:, i] == 1).sum())}" + (f" ({unknown} unknown)" if unknown else ""))
    more = f" and {len(labels) - _NUM_SHOWN} more" if len(labels) > _NUM_SHOWN else ""
    none, unknown = int((values == 0).all(axis=1).sum()), int(np.isnan(values).all(axis=1).sum())
    tail = (f"; {none} images with none" if none else "") + (f"; {unknown} images unknown" if unknown else "")
    things = ("label" if kind == "multilabel" else "class") + ("" if len(labels) == 1 else "s" * (kind == "multilabel"))
    things = "classes" if kind == "multiclass" else things
    return f"kind: {kind}, {len(labels)} {things}: {', '.join(shown)}{more}{tail}"


def _exclusive_note(values: np.ndarray, kind: LabelKind | None) -> tuple[str, ...]:
    if kind is None and values.shape[1] > 1 and (np.nansum(values, axis=1) == 1).all():
        return ("every image has exactly one of the labels; if they exclude one another, say --kind multiclass",)
    return ()


def _one_hot_columns(values: np.ndarray, labels: Sequence[str], row_numbers: pd.Index, where: str) -> Targets:
    unknown = np.isnan(values).all(axis=1)
    wrong = ~unknown & ((values == 1).sum(axis=1) != 1)
    values = np.where(np.isnan(values), np.float32(0), values)
    values[unknown] = np.nan
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"{where}: row {row_numbers[at]} has {int((values[at] == 1).sum())} classes; --kind multiclass needs "
            "exactly one (or an empty row)"
        )
    seen = (values == 1).any(axis=0)
    if not seen.all():
        raise InputError(f"{where}: no image is of class {labels[int(np.argmin(seen))]!r}; leave out its column")
    return Targets(values, tuple(labels), "multiclass", (_counts("multiclass", values, labels),))


def _joined(column: "pd.Series[str]", separator: str, where: str) -> Targets:
    joined = [split_names(text, separator) for text in column]
    beside = {name for names in joined if len(set(names)) > 1 for name in names}
    counts = Counter(name for names in joined for name in set(names))
    nothing = {n for n in counts if n.lower().replace("_", " ").replace("-", " ") in NO_LABEL and n not in beside}
    labels = _in_order(set(counts) - nothing)
    empty = [not names for names in joined]
    if any(empty) and not nothing:
        raise InputError(
            f"{where}: row {column.index[empty.index(True)]} ({sum(empty)} such) has no names in {column.name!r}: none "
            "or unknown? write 'No Finding' in the rows that have none; rows left empty are then unknown"
        )
    if not labels:
        raise InputError(f"{where}: no image has any label in {column.name!r}; there is nothing to learn from it")
    at = {label: i for i, label in enumerate(labels)}
    values = np.zeros((len(column), len(labels)), dtype=np.float32)
    for row, names in enumerate(joined):
        values[row, [at[name] for name in names if name in at]] = 1
    values[empty] = np.nan
    notes = [f"{', '.join(sorted(nothing))} in {column.name!r} means no label"] if nothing else []
    notes += [f"{a!r} and {b!r} differ in case only and are two labels" for a, b in _alike(labels)]
    return _several(values, labels, tuple(notes), where, "in every row")
