"""Which columns of a label table hold the images' names, the labels, the patients and the split."""

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
Find = Callable[[str], tuple[str, ...]]

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
SEPARATORS = ("|", ";", ",")
_ZERO_ONE = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}
UNKNOWN = ("", "nan", "na", "n/a")

_GROUP_WORDS = ("patient", "patients", "subject", "participant", "person", "individual", "group", "case", "mrn", "pid")
_SECOND_GROUP_WORDS = ("lesion", "study", "exam", "examination")  # taken where no column is named after a person
_BARE_WORDS = ("group", "case")  # without "id" they may as well name a class
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
_UNIQUE = 0.9


@dataclass(frozen=True)
class ColumnOverrides:
    """What a person says of the data instead of leaving it to be recognised; None and () leave it so."""

    file_column: str | None = None
    label_column: tuple[str, ...] = ()
    group_column: str | None = None
    kind: LabelKind | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in get_args(LabelKind):
            raise InputError(f"--kind {self.kind!r}: say one of {', '.join(get_args(LabelKind))}")


@dataclass(frozen=True)
class Columns:
    """What a table's columns hold.

    Attributes:
        file: the images' names.
        group: patients, or None.
        split: the official parts, or None.
        form: "columns": each of `labels` holds 0, 1 or nothing; "joined": the one holds names joined by `separator`;
            "class": the one holds a class.
        left_out: the columns that hold none of these.
    """

    file: str
    group: str | None
    split: str | None
    form: Form
    labels: tuple[str, ...]
    separator: str | None
    left_out: tuple[str, ...]


def zero_one(text: str) -> float | None:
    """0.0 or 1.0, NaN where `text` says unknown, None where it is something else."""
    if text.lower() in UNKNOWN:
        return float("nan")
    return _ZERO_ONE.get(text.lower())


def recognise(table: pd.DataFrame, find: Find, column_overrides: ColumnOverrides, where: str) -> Columns:
    """Recognise the columns of `table` (stripped text) by content and name; `stated` goes before both.

    Args:
        find: the images that a name can mean.
        where: the table's path, which begins each error.

    Raises:
        InputError: a stated column is not there or does not fit, or a column cannot be told: the message names the
            options to choose with.
    """
    names = [str(name) for name in table.columns]
    _check_stated(names, column_overrides, where)
    said = {
        *column_overrides.label_column,
        *(name for name in (column_overrides.file_column, column_overrides.group_column) if name),
    }
    rest = [name for name in names if name not in said and (table[name] != "").any()]
    file = column_overrides.file_column or _file_column(table, rest, find, where)
    rest = [name for name in rest if name != file]
    split = _split_column(table, rest, where)
    rest = [name for name in rest if name != split]
    group = column_overrides.group_column or _group_column(table, rest, column_overrides, where)
    rest = [name for name in rest if name != group]
    labels = column_overrides.label_column or _label_columns(table, rest, column_overrides, where)
    form, separator = _form(table, labels, column_overrides.kind, where)
    used = {file, group, split, *labels}
    return Columns(file, group, split, form, labels, separator, tuple(name for name in names if name not in used))


def names_images(table: pd.DataFrame, find: Find, column_overrides: ColumnOverrides) -> bool:
    """Whether any column of `table`, or the stated one, names an image."""
    names = [column_overrides.file_column] if column_overrides.file_column in table.columns else table.columns
    return any(find(value) for name in names for value in _sample(table[name]))


def _check_stated(names: Sequence[str], column_overrides: ColumnOverrides, where: str) -> None:
    options = [("--file-column", column_overrides.file_column), ("--group-column", column_overrides.group_column)]
    options += [("--label-column", name) for name in column_overrides.label_column]
    for option, name in options:
        if name is not None and name not in names:
            raise InputError(f"{where}: no column {name!r} for {option}; there are {_listed(names)}")
    counts = Counter(name for option, name in options if name is not None and option != "--group-column")
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{where}: column {twice[0]!r} is stated twice; say it once")
    if column_overrides.group_column in column_overrides.label_column:
        raise InputError(
            f"{where}: column {column_overrides.group_column!r} cannot be both the group and a label; say one"
        )


def _file_column(table: pd.DataFrame, names: Sequence[str], find: Find, where: str) -> str:
    """The one column whose values name images; of columns that name the same images the fullest names count."""
    found = [name for name in names if any(find(value) for value in _sample(table[name]))]
    # Numbers name images by chance (age 7 and 7.png); what is more than a number, or never repeats, is meant to.
    for meant in (
        [name for name in found if not all(map(_is_number, _sample(table[name])))],
        [name for name in found if table[name].nunique() >= _UNIQUE * len(table)],
    ):
        found = [name for name in found if name in meant] or found
    if not found:
        raise InputError(f"{where}: no column names images of the folder; choose {_choices('--file-column', names)}")
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), _NUM_SAMPLED)).astype(int))
    if len({tuple(find(value) for value in table[name].iloc[rows]) for name in found}) > 1:
        raise InputError(
            f"{where}: columns {_listed(found)} could each name the images; say {_choices('--file-column', found)}"
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


def _group_column(
    table: pd.DataFrame, names: Sequence[str], column_overrides: ColumnOverrides, where: str
) -> str | None:
    for words in (_GROUP_WORDS, _SECOND_GROUP_WORDS):
        found = [name for name in names if _names_group(name, words) and table[name].nunique() > 1]
        if bare := [name for name in found if " ".join(_words(name)) in _BARE_WORDS and _few_values(table[name])]:
            if not column_overrides.label_column:
                raise InputError(
                    f"{where}: column {bare[0]!r} ({_listed(table[bare[0]].unique())}) could be the patient (group) or "
                    f"the class; say --group-column {bare[0]!r} or --label-column {bare[0]!r}, or name others with them"
                )
            found = [name for name in found if name not in bare]
        if len({tuple(pd.factorize(table[name])[0].tolist()) for name in found}) > 1:
            raise InputError(
                f"{where}: columns {_listed(found)} could each be the patient; say {_choices('--group-column', found)}"
            )
        if found:
            return found[0]
    return None


def _label_columns(
    table: pd.DataFrame, names: Sequence[str], column_overrides: ColumnOverrides, where: str
) -> tuple[str, ...]:
    flags = [name for name in names if _is_zero_one(table[name])]
    texts = [name for name in names if name not in flags and not _is_other(name)]
    named = [
        name for name in texts if _LABEL_NAME.fullmatch(" ".join(_words(name))) and _may_be_labels(table[name], True)
    ]
    texts = [name for name in texts if _may_be_labels(table[name], False)]
    sure = [name for name in flags if not _is_other(name)]
    if len(named) > 1 or (named and sure):
        _ask_labels([*named, *sure], where)
    if named:
        return (named[0],)
    general = [name for name in flags if _LABEL_NAME.fullmatch(" ".join(_words(name)))]
    unsure = len(sure) < len(flags) or (general and len(flags) > 1) or (flags and texts and not general)
    if flags and unsure:
        _ask_labels([*flags, *texts], where)
    if flags and column_overrides.kind == "binary" and len(flags) > 1:
        _ask_labels(flags, where, "--kind binary takes one of them")
    if flags:  # several are labels, whatever else describes the images, where no name is a hint to the contrary
        return tuple(flags)
    if not texts:
        raise InputError(
            f"{where}: no column looks like labels (0/1, a class, or names joined by |, ; or ,); choose "
            f"{_choices('--label-column', names) if names else 'another table: this one has no further column'}"
        )
    if len(texts) > 1:
        _ask_labels(texts, where)
    return (texts[0],)


def _ask_labels(names: Sequence[str], where: str, why: str = "which of them are, cannot be told") -> None:
    raise InputError(
        f"{where}: columns {_listed(names)} could be labels and {why}; name each label with --label-column, "
        f"e.g. --label-column {names[0]!r} (several: repeat it)"
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
                f"{where}: --kind binary takes one label, but there are {len(labels)}; say --label-column once"
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
    """The separator that joins names, None where values are single names.

    "a, b" is one name with a comma if its parts stand nowhere else.
    """
    different = values.unique()
    for separator in SEPARATORS:
        if any(separator in value for value in different):
            stands_in = Counter(part for value in different for part in set(split_names(value, separator)))
            reused = any(
                stands_in[part] > 1
                for value in different
                if separator in value
                for part in split_names(value, separator)
            )
            return separator if reused else None
    return None


def split_names(value: str, separator: str) -> list[str]:
    """The names in one joined value, stripped; empty ones are left out."""
    return [part.strip() for part in value.split(separator) if part.strip()]


def _may_be_labels(values: "pd.Series[str]", is_named: bool) -> bool:
    """Whether names joined, or few enough classes, stand in a column; fractions are no classes."""
    separator = _separator(values)
    if separator:
        names = Counter(name for value in values for name in split_names(value, separator))
        if all(map(_is_number, names)) and not is_named:
            return False
        return len(names) <= _MAX_NAMES and (is_named or names.total() >= 2 * len(names))
    different = values[values != ""].unique()
    are_numbers = all(map(_is_number, different))
    if are_numbers and not all(float(value).is_integer() for value in different):
        return False
    if is_named:
        return True
    most = _MAX_NUMBERED_CLASSES if are_numbers else _MAX_CLASSES
    return 2 <= len(different) <= most and len(values) >= 2 * len(different)


def _is_zero_one(values: "pd.Series[str]") -> bool:
    read = [zero_one(value) for value in values.unique()]
    return None not in read and any(value in (0.0, 1.0) for value in read)


def _few_values(values: "pd.Series[str]") -> bool:
    return 2 <= values.nunique() <= min(20, len(values) // 2)


def _sample(values: "pd.Series[str]") -> list[str]:
    """At most 500 of the different values, evenly spread."""
    different = [value for value in values.unique().tolist() if value]
    index = np.unique(np.linspace(0, len(different) - 1, min(len(different), _NUM_SAMPLED)).astype(int))
    return [different[i] for i in index]


def _words(name: str) -> list[str]:
    """Lower-case words of "Patient ID", "patient_id", "PatientID"."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


def _names_group(name: str, words: Sequence[str]) -> bool:
    own = [word for word in _words(name) if word not in _ID_WORDS]
    return len(own) == 1 and (own[0] in words or (own[0].endswith("id") and own[0][:-2] in words))


def _is_other(name: str) -> bool:
    """Whether a name says that its column describes the image or the patient and is no label."""
    words = [word for word in _words(name) if word not in _ID_WORDS]
    return _OTHER_NAME.fullmatch(" ".join(words)) is not None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", text.lower()) is not None


def _listed(names: Sequence[str] | np.ndarray) -> str:
    shown = ", ".join(repr(str(name)[:60]) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def _choices(option: str, names: Sequence[str]) -> str:
    return " or ".join(f"{option} {name!r}" for name in names[:12])
