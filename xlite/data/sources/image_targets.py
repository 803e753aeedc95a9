"""Turns label columns or class names into targets: (N, L) of 0, 1 or NaN (unknown)."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xlite.data.sources.cells import (
    UNCERTAIN,
    flag,
    is_list,
    is_number,
    is_unknown,
    names_of_list,
    plain_number,
    split_names,
)
from xlite.data.sources.columns import Columns
from xlite.data.sources.folder_options import FolderOptions, LabelKind
from xlite.errors import InputError

NO_LABEL = ("no finding", "no findings", "nofinding", "normal", "none", "healthy")
_NEGATIVE = (
    *NO_LABEL, "negative", "control", "benign", "absent", "no", "n", "0", "false", "well", "clear", "nein", "gesund",
    "uninfected", "unaffected", "unremarkable",
)  # fmt: skip
_PAIRS = (("b", "m"), ("neg", "pos"), ("normal", "abnormal"), ("benign", "malignant"), ("n", "p"))  # negative first
_NEGATION = re.compile(r"(non|no|not|un|without)")
_NEGATION_WORDS = ("no", "non", "not", "without")
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


def table_targets(rows: pd.DataFrame, columns: Columns, options: FolderOptions, where: str) -> Targets:
    """The targets of a table's rows.

    In a column of joined names, a name such as "No Finding" (`NO_LABEL`) that is never joined to another one is not a
    label: its rows are 0 in all labels. If it is joined to another one anywhere, it is a label like any other.

    Args:
        where: the table's path, which begins each error message.

    Raises:
        InputError: a value that is not 0/1; an empty joined value if no name means "none"; classes that do not fit
            `options.kind`; fewer than two classes; a label without positives.
    """
    form = columns.form.form
    if form != "class" and options.positive is not None and flag(options.positive) != 1:
        raise InputError(
            f"{where}: --positive {options.positive!r} is for a column of two classes; here 1 is positive, leave it out"
        )
    if form == "columns":
        values, notes = _flag_values(rows, columns.labels, options, where)
        if options.kind == "multiclass":
            return _one_hot_columns(values, columns.labels, rows.index, where, notes)
        return _multilabel(values, columns.labels, (*notes, *_exclusive_note(values, options.kind)), where)
    if form == "joined":
        return _joined(rows[columns.labels[0]], columns.form.separators, options, where)
    classes = [_class_name(text, options) for text in rows[columns.labels[0]]]
    classes, notes = _without_uncertain(classes, options, where)
    return class_targets(classes, options, where, notes)


def _flag_values(
    rows: pd.DataFrame, labels: Sequence[str], options: FolderOptions, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, L) float32 of 0, 1 or NaN from columns of flags, or of numbers to cut."""
    values = np.empty((len(rows), len(labels)), dtype=np.float32)
    num_uncertain = 0
    for place, name in enumerate(labels):
        column = rows[name]
        uncertain = column.isin(UNCERTAIN) & (options.threshold is None)
        if uncertain.any() and options.uncertain == "error":
            row = column.index[int(np.argmax(uncertain))]
            raise InputError(
                f"{where}: row {row} has {column[row]} (uncertain) in {name!r}; correct it, or say what it means with "
                "--uncertain ignore, positive or negative"
            )
        num_uncertain += int(uncertain.sum())
        values[:, place] = column.map({text: _flag_value(text, options) for text in column.unique()})
    notes = [f"cut at {options.threshold:g}: numbers from there on are 1"] if options.threshold is not None else []
    if num_uncertain:
        what = "unknown" if options.uncertain == "ignore" else options.uncertain
        notes.append(f"uncertain (-1): {num_uncertain} values, taken as {what}; --uncertain says otherwise")
    return values, tuple(notes)


def _flag_value(text: str, options: FolderOptions) -> float:
    if is_unknown(text) or options.says_unknown(text):
        return math.nan
    if options.threshold is not None:
        return float(float(text) >= options.threshold)
    if text in UNCERTAIN:
        return {"positive": 1.0, "negative": 0.0}.get(options.uncertain, math.nan)
    parsed = flag(text)
    return math.nan if parsed is None else parsed


def _class_name(text: str, options: FolderOptions) -> str:
    """A cell's class: "" where it is unknown, numbers as people write them, the name of a list of one."""
    if is_unknown(text) or options.says_unknown(text):
        return ""
    if is_list(text):
        text = ", ".join(names_of_list(text))
    return plain_number(text)


def _without_uncertain(classes: Sequence[str], options: FolderOptions, where: str) -> tuple[list[str], tuple[str, ...]]:
    """The classes with -1 unknown where all others are numbers from 0 on."""
    numbers = {float(name) for name in classes if name and is_number(name)}
    if min(numbers, default=0) != -1 or not all(is_number(name) for name in classes if name):
        return list(classes), ()
    if options.uncertain == "error":
        raise InputError(f"{where}: -1 stands among the classes; correct it, or use --uncertain ignore")
    count = sum(name == "-1" for name in classes)
    return ["" if name == "-1" else name for name in classes], (f"-1 is taken as unknown: {count} rows",)


def class_targets(classes: Sequence[str], options: FolderOptions, where: str, notes: tuple[str, ...] = ()) -> Targets:
    """One class per example ("" is unknown) as one-hot rows, or with kind "binary" two classes as one label.

    The negative one of two classes is the one named normal, control, no or 0, or as the other one's negation.

    Raises:
        InputError: fewer than two classes, or not two where the kind is "binary"; which one is positive is not clear.
    """
    names = in_order({name for name in classes if name})
    if len(names) < 2:
        found = f"the only class is {names[0]!r}" if names else "no image has a class"
        raise InputError(f"{where}: {found}; label images of at least 2 classes")
    codes = pd.Categorical([name or None for name in classes], categories=names).codes
    notes = (*notes, *(f"{a!r} and {b!r} differ only in case and are two classes" for a, b in _case_variants(names)))
    if options.kind == "binary" or options.positive is not None:
        if len(names) != 2:
            raise InputError(f"{where}: --kind binary needs 2 classes, but there are {len(names)}: {', '.join(names)}")
        positive = _positive(names, options.positive, where)
        values = np.where(codes < 0, np.nan, codes == positive).astype(np.float32)[:, None]
        note = f"binary: {names[positive]!r} is 1, {names[1 - positive]!r} is 0"
        return _multilabel(values, (names[positive],), (note, *notes), where)
    values = np.eye(len(names), dtype=np.float32)[codes]
    values[codes < 0] = np.nan
    return Targets(values, tuple(names), "multiclass", (_counts("multiclass", values, names), *notes))


def _positive(names: Sequence[str], given: str | None, where: str) -> int:
    """Which of two classes is 1."""
    if given is not None:
        if given not in names:
            raise InputError(f"{where}: --positive {given!r} is no class; there are {names[0]!r} and {names[1]!r}")
        return names.index(given)
    negative = [_is_negative(name, other) for name, other in (names, names[::-1])]
    if negative[0] == negative[1]:
        raise InputError(
            f"{where}: which of {names[0]!r} and {names[1]!r} is 1? say --positive {names[0]!r} or "
            f"--positive {names[1]!r}"
        )
    return 1 if negative[0] else 0


def _is_negative(name: str, other: str) -> bool:
    """Whether a class means that the finding of the other class is not there."""
    plain, other_plain = _plain(name), _plain(other)
    if (plain, other_plain) in _PAIRS or (other_plain, plain) in _PAIRS:
        return (plain, other_plain) in _PAIRS
    if plain in _NEGATIVE or other_plain in _NEGATIVE:
        return plain in _NEGATIVE and other_plain not in _NEGATIVE
    words, other_words = plain.split(), other_plain.split()
    if [word for word in words if not _NEGATION.fullmatch(word)] == other_words and words != other_words:
        return True  # "CT_NonCOVID" beside "CT_COVID", "no disease" beside "disease"
    if any(_NEGATION.sub("", word, count=1) == "".join(other_words) for word in words if word not in other_words):
        return True  # "unhealthy" beside "healthy"
    return words[0] in _NEGATION_WORDS and other_words[0] not in _NEGATION_WORDS


def _plain(name: str) -> str:
    """Lower-case words: "ct non covid" for "CT_NonCOVID"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[a-zäöüß0-9]+", spaced.lower()))


def in_order(names: set[str]) -> list[str]:
    """Sorted by value if all are numbers, else by name."""
    return sorted(names, key=lambda name: (float(name), name)) if all(map(is_number, names)) else sorted(names)


def _case_variants(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in case only."""
    by_folded: dict[str, list[str]] = {}
    for name in names:
        by_folded.setdefault(name.casefold(), []).append(name)
    return [(same[0], same[1]) for same in by_folded.values() if len(same) > 1]


def _multilabel(values: np.ndarray, labels: Sequence[str], notes: tuple[str, ...], where: str) -> Targets:
    """Independent labels, after a check that each can be learned; one that is never 1 is left out with a note."""
    positives, negatives = ((values == value).sum(axis=0) for value in (1, 0))
    if not positives.any():
        raise InputError(f"{where}: no image has any of the {len(labels)} labels; use a table with positives")
    if never := [label for label, count in zip(labels, positives, strict=True) if count == 0]:
        notes = (*notes, f"left out: the labels {', '.join(map(repr, never))} are 0 or unknown in every row")
        keep = positives > 0
        values, negatives = values[:, keep], negatives[keep]
        labels = [label for label, kept in zip(labels, keep, strict=True) if kept]
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


def _one_hot_columns(
    values: np.ndarray, labels: Sequence[str], row_numbers: pd.Index, where: str, notes: tuple[str, ...]
) -> Targets:
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
    return Targets(values, tuple(labels), "multiclass", (_counts("multiclass", values, labels), *notes))


def _joined(column: "pd.Series[str]", separators: str, options: FolderOptions, where: str) -> Targets:
    """Labels from a column of joined names; see `table_targets`."""
    joined = [
        [plain_number(name) for name in split_names(text, separators) if not options.says_unknown(name)]
        if not is_unknown(text)
        else []
        for text in column
    ]
    joined_names = {name for names in joined if len(set(names)) > 1 for name in names}
    counts = Counter(name for names in joined for name in set(names))
    nothing = {name for name in counts if _plain(name) in NO_LABEL}
    no_label = nothing - joined_names
    labels = in_order(set(counts) - no_label)
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
    for name in sorted(nothing & joined_names):
        row = next(at for at, names in zip(column.index, joined, strict=True) if name in names and len(names) > 1)
        notes.append(
            f"{name!r} is a label of its own, since row {row} joins it to another; correct that row if it is none"
        )
    notes += [f"{a!r} and {b!r} differ only in case and are two labels" for a, b in _case_variants(labels)]
    return _multilabel(values, labels, tuple(notes), where)
