"""Recognises the columns of a label table: image names, labels, patients, split."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from xlite.errors import InputError

LabelKind = Literal["binary", "multilabel", "multiclass"]
Form = Literal["columns", "joined", "class"]
Find = Callable[[str], tuple[str, ...]]  # a name in the table -> the images it can mean

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
SEPARATORS = ("|", ";", ",")
_ZERO_ONE = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}
UNKNOWN = ("", "nan", "na", "n/a")

_GROUP_WORDS = ("patient", "patients", "subject", "participant", "person", "individual", "group", "case", "mrn", "pid")
_SECOND_GROUP_WORDS = ("lesion", "study", "exam", "examination")  # used if no column is named after a person
_BARE_WORDS = ("group", "case")  # without "id" they may also name a class
_ID_WORDS = ("id", "ids", "no", "nr", "number", "num", "name", "key", "code", "index", "uid", "s")
_LABEL_NAME = re.compile(
    r"((class|finding|diagnosis|disease) )?labels?|class(es)?|(class|label|disease) name|category|target|"
    r"diagnos[ei]s|dx|findings?|conditions?|diseases?|patholog(y|ies)|grade|severity|stage|tags"
)
_OTHER_NAME = re.compile(
    r"((patient|subject) )?(sex|gender|age)|(is )?(fe)?male|(is )?smok(er|ing)|age group|view|view position|projection|"
    r"position|laterality|side|left|right|eye|orientation|fold|follow up|site|hospital|scanner|device|manufacturer|"
    r"modality"
)
_NUM_SAMPLED = 500
_MAX_CLASSES, _MAX_NUMBERED_CLASSES, _MAX_NAMES = 50, 10, 200
_UNIQUE_SHARE = 0.9


@dataclass(frozen=True)
class ColumnOverrides:
    """Column names and kind of labels given by the user; None and () mean: recognise them."""

    file_column: str | None = None
    label_column: tuple[str, ...] = ()
    group_column: str | None = None
    kind: LabelKind | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in get_args(LabelKind):
            raise InputError(f"--kind {self.kind!r}: use one of {', '.join(get_args(LabelKind))}")


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns by role.

    Attributes:
        file: the image names.
        group: patients, or None.
        split: the official parts, or None.
        form: "columns": each of `labels` holds 0, 1 or nothing; "joined": the only one holds names joined by
            `separator`; "class": the only one holds a class.
        left_out: all other columns.
    """

    file: str
    group: str | None
    split: str | None
    form: Form
    labels: tuple[str, ...]
    separator: str | None
    left_out: tuple[str, ...]


def zero_one(text: str) -> float | None:
    """0.0 or 1.0, NaN if `text` means unknown, None if it is something else."""
    if text.lower() in UNKNOWN:
        return float("nan")
    return _ZERO_ONE.get(text.lower())


def recognise(table: pd.DataFrame, find: Find, overrides: ColumnOverrides, where: str) -> Columns:
    """Recognise the columns of `table` by content and name, unless `overrides` gives them.

    Args:
        table: stripped text.
        find: image name -> the images it can mean.
        where: the table's path, which begins each error message.

    Raises:
        InputError: a given column does not exist or does not fit; or a column is ambiguous or missing, and the message
            names the option to choose with.
    """
    names = [str(name) for name in table.columns]
    _check_overrides(names, overrides, where)
    given = {
        *overrides.label_column,
        *(name for name in (overrides.file_column, overrides.group_column) if name),
    }
    rest = [name for name in names if name not in given and (table[name] != "").any()]
    file = overrides.file_column or _file_column(table, rest, find, where)
    rest = [name for name in rest if name != file]
    split = _split_column(table, rest, where)
    rest = [name for name in rest if name != split]
    group = overrides.group_column or _group_column(table, rest, overrides, where)
    rest = [name for name in rest if name != group]
    labels = overrides.label_column or _label_columns(table, rest, overrides, where)
    form, separator = _form(table, labels, overrides.kind, where)
    used = {file, group, split, *labels}
    return Columns(file, group, split, form, labels, separator, tuple(name for name in names if name not in used))


def names_images(table: pd.DataFrame, find: Find, overrides: ColumnOverrides) -> bool:
    """Whether the given file column of `table`, or else any column, names an image."""
    names = [overrides.file_column] if overrides.file_column in table.columns else table.columns
    return any(find(value) for name in names for value in _sample(table[name]))


def _check_overrides(names: Sequence[str], overrides: ColumnOverrides, where: str) -> None:
    options = [("--file-column", overrides.file_column), ("--group-column", overrides.group_column)]
    options += [("--label-column", name) for name in overrides.label_column]
    for option, name in options:
        if name is not None and name not in names:
            raise InputError(f"{where}: no column {name!r} for {option}; there are {_listed(names)}")
    counts = Counter(name for option, name in options if name is not None and option != "--group-column")
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{where}: column {twice[0]!r} is given twice; give it once")
    if overrides.group_column in overrides.label_column:
        raise InputError(
            f"{where}: column {overrides.group_column!r} cannot be both the group and a label; use it for one"
        )


def _file_column(table: pd.DataFrame, names: Sequence[str], find: Find, where: str) -> str:
    """The only column that names images; of columns that name the same images, the one with the longest names."""
    found = [name for name in names if any(find(value) for value in _sample(table[name]))]
    # Numbers can match image names by chance (age 7 and 7.png): prefer values that are not numbers, or not repeated.
    for preferred in (
        [name for name in found if not all(map(_is_number, _sample(table[name])))],
        [name for name in found if table[name].nunique() >= _UNIQUE_SHARE * len(table)],
    ):
        found = [name for name in found if name in preferred] or found
    if not found:
        raise InputError(f"{where}: no column names images of the folder; use {_choices('--file-column', names)}")
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), _NUM_SAMPLED)).astype(int))
    if len({tuple(find(value) for value in table[name].iloc[rows]) for name in found}) > 1:
        raise InputError(
            f"{where}: columns {_listed(found)} could each name the images; use {_choices('--file-column', found)}"
        )
    return max(found, key=lambda name: (table[name].iloc[rows].str.len().sum(), -found.index(name)))


def _split_column(table: pd.DataFrame, names: Sequence[str], where: str) -> str | None:
    found = []
    for name in names:
        values = {value.lower() for value in table[name].unique()} - {""}
        parts = {PARTS.get(value) for value in values}
        if None not in parts and "train" in parts and len(parts) > 1:
            found.append(name)
    if len(found) > 1:
        raise InputError(f"{where}: columns {_listed(found)} could each be the official parts; remove all but one")
    return found[0] if found else None


def _group_column(table: pd.DataFrame, names: Sequence[str], overrides: ColumnOverrides, where: str) -> str | None:
    for words in (_GROUP_WORDS, _SECOND_GROUP_WORDS):
        found = [name for name in names if _names_group(name, words) and table[name].nunique() > 1]
        if bare := [name for name in found if " ".join(_words(name)) in _BARE_WORDS and _few_values(table[name])]:
            if not overrides.label_column:
                raise InputError(
                    f"{where}: column {bare[0]!r} ({_listed(table[bare[0]].unique())}) could be the patient (group) or "
                    f"the class; use --group-column {bare[0]!r} or --label-column {bare[0]!r}, or name others with them"
                )
            found = [name for name in found if name not in bare]
        if len({tuple(pd.factorize(table[name])[0].tolist()) for name in found}) > 1:
            raise InputError(
                f"{where}: columns {_listed(found)} could each be the patient; use {_choices('--group-column', found)}"
            )
        if found:
            return found[0]
    return None


def _label_columns(
    table: pd.DataFrame, names: Sequence[str], overrides: ColumnOverrides, where: str
) -> tuple[str, ...]:
    flags = [name for name in names if _is_zero_one(table[name])]
    texts = [name for name in names if name not in flags and not _is_other(name)]
    named = [
        name for name in texts if _LABEL_NAME.fullmatch(" ".join(_words(name))) and _may_be_labels(table[name], True)
    ]
    texts = [name for name in texts if _may_be_labels(table[name], False)]
    clear = [name for name in flags if not _is_other(name)]
    if len(named) > 1 or (named and clear):
        _ask_labels([*named, *clear], where)
    if named:
        return (named[0],)
    general = [name for name in flags if _LABEL_NAME.fullmatch(" ".join(_words(name)))]
    unclear = len(clear) < len(flags) or (general and len(flags) > 1) or (flags and texts and not general)
    if flags and unclear:
        _ask_labels([*flags, *texts], where)
    if flags and overrides.kind == "binary" and len(flags) > 1:
        _ask_labels(flags, where, "--kind binary needs exactly one")
    if flags:  # several 0/1 columns are labels, unless a name suggested otherwise above
        return tuple(flags)
    if not texts:
        raise InputError(
            f"{where}: no column looks like labels (0/1, a class, or names joined by |, ; or ,); use "
            f"{_choices('--label-column', names) if names else 'another table: this one has no further column'}"
        )
    if len(texts) > 1:
        _ask_labels(texts, where)
    return (texts[0],)


def _ask_labels(names: Sequence[str], where: str, why: str = "it is not clear which are") -> None:
    raise InputError(
        f"{where}: columns {_listed(names)} could be labels and {why}; name each label with --label-column, "
        f"e.g. --label-column {names[0]!r} (repeat it for several)"
    )


def _form(table: pd.DataFrame, labels: tuple[str, ...], kind: LabelKind | None, where: str) -> tuple[Form, str | None]:
    if len(labels) > 1:
        for name in labels:
            wrong = [value is None for value in map(zero_one, table[name])]
            if any(wrong):
                row = table.index[wrong.index(True)]
                raise InputError(
                    f"{where}: row {row} has {table[name][row]!r} in the label column {name!r}; write 0, 1, or nothing "
                    "where it is unknown"
                )
        if kind == "binary":
            raise InputError(
                f"{where}: --kind binary needs one label, but there are {len(labels)}; give --label-column once"
            )
        return "columns", None
    values = table[labels[0]]
    if _is_zero_one(values):
        return ("class" if kind == "multiclass" else "columns"), None
    separator = _separator(values)
    if kind == "multilabel" or (kind is None and separator):
        return "joined", separator or SEPARATORS[0]
    return "class", None


def _separator(values: "pd.Series[str]") -> str | None:
    """The separator that joins names, None if values are single names.

    "a, b" is one name with a comma if neither "a" nor "b" is in another value.
    """
    distinct = values.unique()
    for separator in SEPARATORS:
        if any(separator in value for value in distinct):
            num_values = Counter(name for value in distinct for name in set(split_names(value, separator)))
            reused = any(
                num_values[name] > 1
                for value in distinct
                if separator in value
                for name in split_names(value, separator)
            )
            return separator if reused else None
    return None


def split_names(value: str, separator: str) -> list[str]:
    """The names in a joined value, stripped, without empty ones."""
    return [name.strip() for name in value.split(separator) if name.strip()]


def _may_be_labels(values: "pd.Series[str]", is_named: bool) -> bool:
    """Whether a column holds joined names, or few enough classes; fractions are not classes.

    Args:
        is_named: the column's name means labels, so weaker evidence is enough.
    """
    separator = _separator(values)
    if separator:
        names = Counter(name for value in values for name in split_names(value, separator))
        if all(map(_is_number, names)) and not is_named:
            return False
        return len(names) <= _MAX_NAMES and (is_named or names.total() >= 2 * len(names))
    distinct = values[values != ""].unique()
    are_numbers = all(map(_is_number, distinct))
    if are_numbers and not all(float(value).is_integer() for value in distinct):
        return False
    if is_named:
        return True
    max_classes = _MAX_NUMBERED_CLASSES if are_numbers else _MAX_CLASSES
    return 2 <= len(distinct) <= max_classes and len(values) >= 2 * len(distinct)


def _is_zero_one(values: "pd.Series[str]") -> bool:
    parsed = [zero_one(value) for value in values.unique()]
    return None not in parsed and any(value in (0.0, 1.0) for value in parsed)


def _few_values(values: "pd.Series[str]") -> bool:
    return 2 <= values.nunique() <= min(20, len(values) // 2)


def _sample(values: "pd.Series[str]") -> list[str]:
    """At most 500 distinct values, evenly spread over the column."""
    distinct = [value for value in values.unique().tolist() if value]
    index = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _NUM_SAMPLED)).astype(int))
    return [distinct[i] for i in index]


def _words(name: str) -> list[str]:
    """The words of a column name in lower case: ["patient", "id"] for "Patient ID", "patient_id" or "PatientID"."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


def _names_group(name: str, words: Sequence[str]) -> bool:
    nouns = [word for word in _words(name) if word not in _ID_WORDS]
    return len(nouns) == 1 and (nouns[0] in words or (nouns[0].endswith("id") and nouns[0][:-2] in words))


def _is_other(name: str) -> bool:
    """Whether a column name is that of a property of the image or the patient, which is not a label."""
    words = [word for word in _words(name) if word not in _ID_WORDS]
    return _OTHER_NAME.fullmatch(" ".join(words)) is not None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", text.lower()) is not None


def _listed(names: Sequence[str] | np.ndarray) -> str:
    shown = ", ".join(repr(str(name)[:60]) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _choices(option: str, names: Sequence[str]) -> str:
    return " or ".join(f"{option} {name!r}" for name in names[:12])
