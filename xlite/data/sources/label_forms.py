"""Recognises what the cells of label columns hold: 0 and 1, joined names, classes, or numbers, which are no labels."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from xlite.data.sources.cells import (
    SEPARATORS,
    UNCERTAIN,
    flag,
    is_list,
    is_number,
    is_unknown,
    split_names,
)
from xlite.data.sources.folder_options import FolderOptions
from xlite.errors import InputError

Form = Literal["columns", "joined", "class"]
_STRONG = SEPARATORS[:3]
_STRICT_FLAGS = ("0", "0.0", "false", "1", "1.0", "true")
_CODES_OF_UNKNOWN = (9, 88, 98, 99, 888, 998, 999, 9999)
_MAX_CLASSES, _MAX_NUMBERED_CLASSES, _MAX_NAMES = 50, 10, 200


@dataclass(frozen=True)
class LabelForm:
    """What label columns hold.

    Attributes:
        form: "columns": each column holds 0, 1 or nothing; "joined": the only one holds names joined by any of
            `separators`, or lists of names; "class": the only one holds a class.
    """

    form: Form
    separators: str = ""


def label_form(table: pd.DataFrame, labels: tuple[str, ...], options: FolderOptions, where: str) -> LabelForm:
    """The form of the label columns.

    Raises:
        InputError: a value that is not 0/1 among several columns; names that may be joined or not; numbers that are
            measurements, not classes; a code that may mean unknown; the message names the option to choose by.
    """
    if options.threshold is not None:
        for name in labels:
            _check_numbers(table[name], options, where)
        return LabelForm("columns")
    if len(labels) > 1:
        for name in labels:
            _check_flags(table[name], options, where)
        if options.kind == "binary":
            raise InputError(
                f"{where}: --kind binary needs one label, but there are {len(labels)}; give --label-column once"
            )
        return LabelForm("columns")
    values = known(table[labels[0]], options)
    if is_zero_one(values, options):
        return LabelForm("class" if options.kind == "multiclass" else "columns")
    return _form_of_one(values, options, f"{where}: the column {labels[0]!r}", labels[0])


def _form_of_one(values: "pd.Series[str]", options: FolderOptions, where: str, name: str) -> LabelForm:
    if len(values) and all(map(is_list, values.unique())):
        several = any(len(split_names(value, ",")) > 1 for value in values.unique())
        return LabelForm(
            "joined" if options.kind == "multilabel" or (several and options.kind is None) else "class", ","
        )
    separators = separators_of(values)
    if options.kind == "multilabel":
        return LabelForm("joined", separators or doubtful_separator(values, share=0.0) or SEPARATORS[0])
    if options.kind is None and separators:
        return LabelForm("joined", separators)
    if options.kind is None and (doubtful := doubtful_separator(values, share=0.5)):
        example = next(value for value in values if doubtful in value)
        raise InputError(
            f"{where} has {example!r}: names joined by {doubtful!r}, or one class? say --kind multilabel or "
            "--kind multiclass"
        )
    _check_classes(values, options, where, name)
    return LabelForm("class")


def known(values: "pd.Series[str]", options: FolderOptions) -> "pd.Series[str]":
    """The cells that say something."""
    unknown = [value for value in values.unique() if is_unknown(value) or options.says_unknown(value)]
    return values[~values.isin(unknown)]


def is_zero_one(values: "pd.Series[str]", options: FolderOptions) -> bool:
    """Whether a column holds 0 and 1 (or -1 beside them, uncertain) or true and false, and nothing else."""
    distinct = {value.lower() for value in known(values, options).unique()}
    certain = distinct - UNCERTAIN
    may_be_uncertain = not certain & {"true", "false"}
    return bool(certain) and certain <= set(_STRICT_FLAGS) and (distinct == certain or may_be_uncertain)


def is_flag(values: "pd.Series[str]", options: FolderOptions) -> bool:
    """Whether a column holds only words for yes and no, of any language known here."""
    distinct = known(values, options).unique()
    return len(distinct) > 0 and all(flag(value) is not None for value in distinct)


def separators_of(values: "pd.Series[str]") -> str:
    """The separators that join names, "" if values are single names.

    "a, b" is one name with a comma if neither "a" nor "b" is in another value. "+", "/", "&" and blanks join names only
    if each of these also stands alone in some row.
    """
    distinct = [value for value in values.unique() if value]
    strong = "".join(s for s in _STRONG if _joins(distinct, s))
    if strong:
        return strong
    return next((s for s in SEPARATORS[3:] if _share_alone(distinct, s) == 1), "")


def _joins(distinct: list[str], separator: str) -> bool:
    """Whether any piece of a value recurs in another value, whatever joins the pieces there."""
    pieces = {value: {piece.strip() for piece in re.split(r"[|;,]", value)} - {""} for value in distinct}
    counts = Counter(piece for each in pieces.values() for piece in each)
    return any(
        counts[piece.strip()] > 1 for v in distinct if separator in v for piece in v.split(separator) if piece.strip()
    )


def _share_alone(distinct: list[str], separator: str) -> float:
    """The share of the pieces of joined values that also stand alone as a value; 0 without any."""
    alone = {value for value in distinct if separator not in value}
    pieces = {piece for value in distinct if separator in value for piece in split_names(value, separator)}
    return sum(piece in alone for piece in pieces) / len(pieces) if pieces else 0.0


def doubtful_separator(values: "pd.Series[str]", *, share: float) -> str:
    """A separator of which more than `share` of the joined pieces stand alone elsewhere; "" without one."""
    distinct = [value for value in values.unique() if value]
    shares = [(_share_alone(distinct, separator), separator) for separator in SEPARATORS[3:]]
    best = max(shares, key=lambda pair: pair[0])
    return best[1] if best[0] > share else ""


def may_be_labels(values: "pd.Series[str]", *, is_named: bool) -> bool:
    """Whether a column holds joined names, or few enough classes; fractions are not classes.

    Args:
        is_named: the column's name means labels, so weaker evidence is enough.
    """
    values = values[[not is_unknown(value) for value in values]]
    if len(values) == 0:
        return False
    separators = separators_of(values)
    if separators or all(map(is_list, values.unique())):
        names = Counter(name for value in values for name in split_names(value, separators or ","))
        if all(map(is_number, names)) and not is_named:
            return False
        return len(names) <= _MAX_NAMES and (is_named or names.total() >= 2 * len(names))
    distinct = values.unique()
    are_numbers = all(map(is_number, distinct))
    if are_numbers and not all(float(value).is_integer() for value in distinct):
        return False
    if is_named:
        return True
    max_classes = _MAX_NUMBERED_CLASSES if are_numbers else _MAX_CLASSES
    return 2 <= len(distinct) <= max_classes and len(values) >= 2 * len(distinct)


def _check_flags(values: "pd.Series[str]", options: FolderOptions, where: str) -> None:
    cells = known(values, options)
    for row, value in cells.items():
        if flag(value) is None and value not in UNCERTAIN:
            raise InputError(
                f"{where}: row {row} has {value!r} in the label column {values.name!r}; write 0, 1, yes, no, or "
                "nothing where it is unknown; numbers can be cut with --threshold-labels"
            )


def _check_numbers(values: "pd.Series[str]", options: FolderOptions, where: str) -> None:
    for row, value in known(values, options).items():
        if not is_number(value):
            raise InputError(
                f"{where}: --threshold-labels needs numbers, but row {row} has {value!r} in {values.name!r}"
            )


def _check_classes(values: "pd.Series[str]", options: FolderOptions, where: str, name: str) -> None:
    """Refuse measurements and the image's own name as classes, and ask about codes such as 9."""
    distinct = values.unique()
    if len(distinct) > 2 and len(distinct) > 0.9 * len(values):
        raise InputError(
            f"{where} has another value in nearly every row ({', '.join(map(repr, distinct[:3]))}): these are no "
            "classes; choose another --label-column" + _or_threshold(distinct, name)
        )
    if not all(map(is_number, distinct)):
        return
    numbers = sorted({float(value) for value in distinct})
    whole = all(number.is_integer() for number in numbers)
    if len(numbers) > 2 and (not whole or len(numbers) > _MAX_NUMBERED_CLASSES * 2) and options.kind is None:
        raise InputError(
            f"{where} holds numbers ({len(numbers)} from {numbers[0]:g} to {numbers[-1]:g}), not classes"
            + _or_threshold(distinct, name).replace(", or", ";")
            + ", or each number a class with --kind multiclass"
        )
    certain = [number for number in numbers if number >= 0]
    if whole and not options.unknown and len(certain) > 2:
        last, before = certain[-1], certain[-2]
        if last in _CODES_OF_UNKNOWN and last - before > 2:
            raise InputError(
                f"{where} has {last:g} beside {', '.join(f'{n:g}' for n in certain[:-1])}: unknown, or a class? say "
                f"--unknown {last:g} or --unknown none"
            )


def _or_threshold(distinct: Iterable[str], name: str) -> str:
    if not all(map(is_number, distinct)):
        return ""
    return f", or cut them into 0 and 1 with --label-column {name!r} --threshold-labels {middle(distinct):g}"


def middle(texts: Iterable[str]) -> float:
    """A number to cut a column of numbers at: 0.5 for shares, else the median of the different ones."""
    numbers = sorted({float(text) for text in texts if is_number(text)})
    return 0.5 if numbers[0] >= 0 and numbers[-1] <= 1 else numbers[len(numbers) // 2]
