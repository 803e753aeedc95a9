"""Recognises the roles of a label table's columns: labels, patients, the parts of a split."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from xlite.data.sources.cells import BLANK_GROUPS, PARTS, UNKNOWN, flag, group_key, is_number
from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.data.sources.image_names import choices, listed
from xlite.data.sources.label_forms import LabelForm, is_flag, is_zero_one, label_form, may_be_labels, middle
from xlite.errors import InputError

_GROUP_WORDS = (
    "patient", "patients", "pt", "subject", "subj", "participant", "person", "individual", "group", "case", "mrn",
    "pid", "patienten", "patientennummer", "proband", "animal", "donor", "volunteer",
)  # fmt: skip
_SECOND_GROUP_WORDS = ("lesion", "study", "exam", "examination", "slide")  # used if no column is named after a person
_BARE_WORDS = ("group", "case")  # without "id" they may also name a class
_BARE_PERSONS = ("patient", "subject")  # these too, if they hold two or three words
_ID_WORDS = ("id", "ids", "no", "nr", "number", "num", "name", "key", "code", "index", "uid", "s", "nummer")
_LABEL_NAME = re.compile(
    r"((class|finding|diagnosis|disease) )?(labels?|categor(y|ies))|class(es)?|(class|label|disease) name|category|"
    r"target|diagnos[ei]s|dx|findings?|conditions?|diseases?|patholog(y|ies)|grade|severity|stage|tags|level|"
    r"befunde?|diagnose|klasse"
)
_OTHER_NAME = re.compile(
    r"((patient|subject) )?(sex|gender|age)|(is )?(fe)?male|(is )?smok(er|ing)|age group|view|view position|projection|"
    r"position|laterality|side|left|right|eye|orientation|fold|follow up|site|hospital|scanner|device|manufacturer|"
    r"modality|anatom site|localization|location|image dir|folder|folders|path|method label|rad|reader|"
    r"(has|with) .*|.* present|biopsied|frontal lateral|ap pa"
)
_FLAG_OF_PART = re.compile(r"(?:is |in )?(.+?)(?: (?:set|split|part|data))?")
_CANDIDATE_SHARE = 0.9
_MANY_NUMBERS = 10


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns by role.

    Attributes:
        file: the image names.
        group: patients, or None.
        split: the official parts, or None.
        labels: the labels; `form` says what they hold.
        left_out: all other columns.
        maybe_groups: of these, the ones that could name patients; () where there is a group.
        is_clear: whether the labels' names, or several columns of 0 and 1, say that they are labels.
    """

    file: str
    group: str | None
    split: str | None
    labels: tuple[str, ...]
    form: LabelForm
    left_out: tuple[str, ...]
    maybe_groups: tuple[str, ...]
    is_clear: bool


def recognise(table: pd.DataFrame, file: str, options: FolderOptions, where: str) -> Columns:
    """Recognise the columns of `table` by content and name, unless `options` gives them.

    Args:
        table: stripped text.
        file: the column of image names.
        where: the table's path, which begins each error message.

    Raises:
        InputError: a given column does not exist or does not fit; or a column is ambiguous or missing, and the message
            names the option to choose with.
    """
    names = [str(name) for name in table.columns]
    given = {*options.label_column, options.group_column, options.split_column, file}
    rest = [name for name in names if name not in given and (table[name] != "").any()]
    split = _given(options.split_column)
    if options.split_column is None:
        split = _split_column(table, rest, options, where)
    rest = [name for name in rest if name != split]
    group = _given(options.group_column)
    if options.group_column is None:
        group = _group_column(table, rest, options, where)
    rest = [name for name in rest if name != group]
    labels, is_clear = options.label_column, True
    if not labels:
        labels, is_clear = _label_columns(table, rest, options, where)
    form = label_form(table, labels, options, where)
    used = {file, group, split, *labels}
    left_out = tuple(name for name in names if name not in used)
    maybe = () if group or options.group_column == NONE else _maybe_groups(table, left_out)
    return Columns(file, group, split, labels, form, left_out, maybe, is_clear)


def _given(name: str | None) -> str | None:
    return None if name == NONE else name


def check_given(names: Sequence[str], options: FolderOptions, where: str) -> None:
    """Check that the given columns exist, and that none is given twice.

    Raises:
        InputError: they do not, or one is.
    """
    roles = [("--file-column", options.file_column), ("--group-column", _given(options.group_column))]
    roles += [("--split-column", _given(options.split_column)), *(("--label-column", n) for n in options.label_column)]
    for option, name in roles:
        if name is not None and name not in names:
            raise InputError(f"{where}: no column {name!r} for {option}; there are {', '.join(map(repr, names))}")
    counts = Counter(name for option, name in roles if name is not None and option != "--group-column")
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{where}: column {twice[0]!r} is given twice; give it once")
    if options.group_column in options.label_column:
        raise InputError(
            f"{where}: column {options.group_column!r} cannot be both the group and a label; use it for one"
        )


def _split_column(table: pd.DataFrame, names: Sequence[str], options: FolderOptions, where: str) -> str | None:
    """The column of part words, or of 0 and 1 named after a part."""
    found = []
    for name in names:
        values = {value.lower() for value in table[name].unique()} - UNKNOWN
        parts = {PARTS[value] for value in values & set(PARTS)}
        if "train" in parts and len(parts) > 1:
            if unknown := sorted(values - set(PARTS)):
                raise InputError(
                    f"{where}: {name!r} looks like the parts of a split, but {unknown[0]!r} is no known part; use "
                    f"--split-column {name!r} to leave such rows out, or --split-column none to draw a new split"
                )
            found.append(name)
        elif (part := part_of_flag(name)) and is_zero_one(table[name], options):
            if part != "train" and (table[name].map(flag) == 1).mean() > 0.5:
                raise InputError(
                    f"{where}: {name!r} is 1 in most rows; use --split-column {name!r} if these are the {part} part, "
                    "or else --split-column none, and --label-column for each label"
                )
            found.append(name)
    if len(found) > 1:
        raise InputError(
            f"{where}: columns {listed(found)} could each be the official parts; use {choices('--split-column', found)}"
        )
    return found[0] if found else None


def part_of_flag(name: str) -> str | None:
    """The part that a column of 0 and 1 is named after: "val" for "is_valid", "test" for "test_set"; None else."""
    match = _FLAG_OF_PART.fullmatch(" ".join(words(name)))
    return PARTS.get(match[1]) if match else None


def _group_column(table: pd.DataFrame, names: Sequence[str], options: FolderOptions, where: str) -> str | None:
    for group_words in (_GROUP_WORDS, _SECOND_GROUP_WORDS):
        found = [name for name in names if _names_group(name, group_words) and table[name].nunique() > 1]
        if bare := [name for name in found if _may_be_class(name, table[name])]:
            if not options.label_column:
                raise InputError(
                    f"{where}: column {bare[0]!r} ({listed(table[bare[0]].unique())}) could be the patient (group) or "
                    f"the class; use --group-column {bare[0]!r} or --label-column {bare[0]!r}, or name others with them"
                )
            found = [name for name in found if name not in bare]
        if len({tuple(pd.factorize(table[name])[0].tolist()) for name in found}) > 1:
            raise InputError(
                f"{where}: columns {listed(found)} could each be the patient; use {choices('--group-column', found)}"
            )
        if found:
            return found[0]
    return next((name for name in names if words(name) == ["id"] and _repeats(table[name])), None)


def _maybe_groups(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Columns whose values recur as patients' would, in two to a few rows each."""
    return tuple(name for name in names if not _is_other(name) and _repeats(table[name]))


def _repeats(values: "pd.Series[str]") -> bool:
    known = values[[value.lower() not in BLANK_GROUPS for value in values]]
    num_distinct = known.map(group_key).nunique() if len(known) else 0
    return 5 <= num_distinct <= _CANDIDATE_SHARE * len(known) and len(known) <= 50 * num_distinct


def _label_columns(
    table: pd.DataFrame, names: Sequence[str], options: FolderOptions, where: str
) -> tuple[tuple[str, ...], bool]:
    """The label columns, and whether their names or number say that they are labels."""
    flags = [name for name in names if is_zero_one(table[name], options)]
    texts = [name for name in names if name not in flags and not _is_other(name)]
    named = [name for name in texts if is_label_name(name) and may_be_labels(table[name], is_named=True)]
    texts = [name for name in texts if may_be_labels(table[name], is_named=False)]
    words_for_yes = [name for name in texts if is_flag(table[name], options)]
    if len(words_for_yes) > 1 and not flags and not named and len(words_for_yes) == len(texts):
        return tuple(words_for_yes), True
    clear = [name for name in flags if not _is_other(name)]
    if len(named) > 1 or (named and clear):
        _ask_labels([*named, *clear], where)
    if named:
        return (named[0],), True
    general = [name for name in flags if is_label_name(name)]
    unclear = len(clear) < len(flags) or (general and len(flags) > 1) or (flags and texts and not general)
    if flags and unclear:
        _ask_labels([*flags, *texts, *([] if clear else _measurements(table, names, flags))], where)
    if flags and options.kind == "binary" and len(flags) > 1:
        _ask_labels(flags, where, "--kind binary needs exactly one")
    if flags:  # several 0/1 columns are labels, unless a name suggested otherwise above
        return tuple(flags), bool(general) or len(flags) > 1
    if not texts and (numbers := _measurements(table, names, flags)):
        raise InputError(
            f"{where}: no column looks like labels, but {listed(numbers)} holds numbers; cut them into 0 and 1, e.g. "
            f"with --label-column {numbers[0]!r} --threshold-labels {middle(table[numbers[0]]):g}"
        )
    if not texts:
        way = choices("--label-column", names) if names else "another table: this one has no further column"
        raise InputError(
            f"{where}: no column looks like labels (0/1, a class, or names joined by |, ; or ,); use {way}"
        )
    if len(texts) > 1:
        _ask_labels(texts, where)
    return (texts[0],), False


def _measurements(table: pd.DataFrame, names: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Columns of many different numbers that no name explains."""
    return [
        name
        for name in names
        if name not in flags
        and not _is_other(name)
        and table[name].nunique() > _MANY_NUMBERS
        and all(is_number(value) for value in table[name].unique() if value.lower() not in UNKNOWN)
    ]


def _ask_labels(names: Sequence[str], where: str, why: str = "it is not clear which are") -> None:
    raise InputError(
        f"{where}: columns {', '.join(map(repr, names))} could be labels and {why}; name each label with "
        f"--label-column, e.g. --label-column {names[0]!r} (repeat it for several)"
    )


def is_label_name(name: str) -> bool:
    """Whether a column's name means labels: "Finding Labels", "diagnosis"."""
    return _LABEL_NAME.fullmatch(" ".join(words(name))) is not None


def _may_be_class(name: str, values: "pd.Series[str]") -> bool:
    """Whether a column named after a group may hold classes: "group" with a few values, "patient" with words."""
    plain, num_values = " ".join(words(name)), values.nunique()
    if plain in _BARE_PERSONS:
        return num_values <= 3 < len(values) and all(value.isalpha() and len(value) > 2 for value in values.unique())
    return plain in _BARE_WORDS and 2 <= num_values <= min(20, len(values) // 2)


def words(name: str) -> list[str]:
    """The words of a column name in lower case: ["patient", "id"] for "Patient ID", "patient_id" or "PatientID"."""
    return [word.lower() for word in re.findall(r"[A-ZÄÖÜ]+(?![a-zäöüß])|[A-ZÄÖÜ]?[a-zäöüß]+|[0-9]+", name)]


def _names_group(name: str, group_words: Sequence[str]) -> bool:
    nouns = [word for word in words(name) if word not in _ID_WORDS]
    return len(nouns) == 1 and (nouns[0] in group_words or (nouns[0].endswith("id") and nouns[0][:-2] in group_words))


def _is_other(name: str) -> bool:
    """Whether a column name is that of a property of the image or the patient, which is not a label."""
    nouns = [word for word in words(name) if word not in _ID_WORDS]
    return _OTHER_NAME.fullmatch(" ".join(nouns)) is not None
