"""Reads any folder of labelled images: one folder per class, or a table of image names and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.sources import ParsedDataset
from xlite.data.sources.cells import BLANK_GROUPS, PARTS, group_key, split_names
from xlite.data.sources.class_folders import NO_GROUPS, read_class_folders, top_folders
from xlite.data.sources.columns import Columns, check_given, recognise
from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.data.sources.given_parts import check_groups_in_one_part, given_parts, parts_of_folders
from xlite.data.sources.image_files import ImageFiles, list_images, sample_images
from xlite.data.sources.image_names import ImageNames, image_names
from xlite.data.sources.image_targets import table_targets
from xlite.data.sources.label_forms import LabelForm
from xlite.data.sources.layouts import known_layout
from xlite.data.sources.listing import check_labels, check_missing
from xlite.data.sources.name_groups import groups_of_names
from xlite.data.sources.table_choice import PART_COLUMN, choose_table
from xlite.data.sources.tables import LabelTable
from xlite.data.table import Table
from xlite.errors import InputError

_LONG_SHARE = 0.03


def read_images(
    folder: Path,
    *,
    allow_missing: bool = False,
    options: FolderOptions = FolderOptions(),  # noqa: B008  frozen
) -> ParsedDataset:
    """Read a folder of labelled images; how it is laid out is recognised unless `options` says it.

    Either a table names images in `folder` or below, with one 0/1 column per label, one column of joined names or of
    lists, or one column of classes. Or each folder in `folder` is a class. train/, val/ and test/ above the classes, or
    a column of such words, are the official parts. Layouts of well-known data sets are recognised (`layouts`).

    Label columns and joined names give kind "multilabel"; classes give "multiclass" with one-hot targets, also if there
    are only two; with `options.kind` "binary" two classes become one label. Ids are the names in the table, or the
    paths in `folder`. `notes` describe what was recognised, and count what was found and is not used.

    Raises:
        InputError: no images or labels; something that can be read in two ways, with the options to choose by; a row
            that is broken or contradicts another; a patient in two official parts; a label that cannot be learned; more
            than 1% of the table's images missing without `allow_missing`.
    """
    files = list_images(folder)
    table: LabelTable | tuple[str, ...]
    if (layout := known_layout(files, options)) is not None:
        table, options = layout
    else:
        table = choose_table(files, options)
    if isinstance(table, LabelTable):
        parsed = _read_rows(files, table, allow_missing, options)
    else:
        parsed = read_class_folders(files, options, table)
    return _with_sample(replace(parsed, notes=(*parsed.notes, *files.set_aside_notes)))


@dataclass(frozen=True)
class _Rows:
    """A table's rows with the images they name, one each."""

    rows: pd.DataFrame
    images: tuple[str | None, ...]
    notes: tuple[str, ...] = ()

    def take(self, keep: Sequence[int], *notes: str) -> "_Rows":
        return _Rows(self.rows.iloc[list(keep)], tuple(self.images[at] for at in keep), (*self.notes, *notes))


def _read_rows(files: ImageFiles, table: LabelTable, allow_missing: bool, options: FolderOptions) -> ParsedDataset:
    where = str(table.path)
    if options.class_level is not None:
        raise InputError(f"{where}: this table has the labels; leave out --class-level, or say --table none")
    if PART_COLUMN in table.rows.columns and options.split_column is None:
        options = replace(options, split_column=PART_COLUMN)
    check_given([str(name) for name in table.rows.columns], options, where)
    names = image_names(table.rows, files, options, where)
    columns = recognise(table.rows, names.column, options, where)
    if (empty := table.rows.index[table.rows[columns.file] == ""]).size:
        raise InputError(f"{where}: row {empty[0]} has no file in {columns.file!r}; fill it in or remove the row")
    rows = _with_one_image(table.rows, names, where)
    _ask_folders_or_table(files, columns, options, table)
    if columns.split is not None:
        parts, said = given_parts(rows.rows, columns.split, where)
        rows = replace(rows, rows=rows.rows.assign(**{columns.split: parts}))
        rows = rows.take([at for at, part in enumerate(parts) if part], *said)
    rows, columns = _one_row_an_image(rows, columns, options, where)
    absent = [image is None for image in rows.images]
    missing = tuple(rows.rows[columns.file][absent].tolist())
    check_missing(where, missing, len(absent), what="images", fix="put them beside it", allow_missing=allow_missing)
    rows = rows.take([at for at, gone in enumerate(absent) if not gone])
    targets = table_targets(rows.rows, columns, options, where)
    check_labels(targets.labels, where)
    ids = _ids(rows, columns, names)
    groups, grouping = _groups(rows, ids, columns, options)
    present = [image for image in rows.images if image is not None]
    if columns.split is None:
        official = parts_of_folders(present, options, where)
    else:
        official = np.array(rows.rows[columns.split].tolist(), dtype=np.str_)
    if official is not None:
        check_groups_in_one_part(groups, official, columns, where)
    items = tuple(map(files.item, present))
    notes = [_table_note(table, columns), *table.notes, *names.notes, *rows.notes]
    if missing:
        notes.append(f"missing: {len(missing)} of {len(absent)} images, e.g. {missing[0]}")
    if unnamed := len(set(files.images) - set(present)):
        notes.append(f"left out: {unnamed} images on disk that {table.path.name} does not name")
    return ParsedDataset(
        Table(ids, items, groups, targets.values, targets.labels, official),
        missing,
        kind=targets.kind,
        notes=(*notes, *targets.notes, grouping),
    )


def _ask_folders_or_table(files: ImageFiles, columns: Columns, options: FolderOptions, table: LabelTable) -> None:
    """Ask where folders look like classes and nothing but its values makes a column of the table look like them."""
    tops = sorted(top_folders(files))
    said = options.table or options.label_column or columns.is_clear
    numbered = len({top.rstrip("0123456789").rstrip(" _-") for top in tops}) == 1
    loose = any("/" not in path for path in files.images)
    if said or len(tops) < 2 or numbered or loose or set(map(str.lower, tops)) <= set(PARTS):
        return
    raise InputError(
        f"{files.folder}: the classes could be the column {columns.labels[0]!r} of {table.path.name}, or the folders "
        f"{', '.join(tops[:6])}; say --table {table.path.name!r} or --table none"
    )


def _table_note(table: LabelTable, columns: Columns) -> str:
    """One line: the table, its rows and the roles of its columns."""
    labels = ", ".join(map(repr, columns.labels[:8])) + (" ..." if len(columns.labels) > 8 else "")
    form = {
        "columns": f"labels (0/1) in {labels}",
        "joined": f"labels in {labels}, joined by {' or '.join(map(repr, columns.form.separators))}",
        "class": f"class in {labels}",
    }[columns.form.form]
    out = f"; columns left out: {', '.join(columns.left_out)}" if columns.left_out else ""
    parts = f", parts in {columns.split!r}" if columns.split else ""
    return f"{table.path}: {len(table.rows)} rows; images in {columns.file!r}, {form}{parts}{out}"


def _with_one_image(rows: pd.DataFrame, names: ImageNames, where: str) -> _Rows:
    """Each row with its image, None if it does not exist; a row of a folder once for each of its images."""
    if names.names_folders:
        at = [i for i, found in enumerate(names.images) for _ in found or (None,)]
        images = [image for found in names.images for image in (found or (None,))]
        return _Rows(rows.iloc[at], tuple(images))
    for (row, name), found in zip(rows[names.column].items(), names.images, strict=True):
        if len(found) > 1:
            raise InputError(
                f"{where}: row {row} names {name!r}, which can be {found[0]} or {found[1]}; write more of the path"
            )
    return _Rows(rows, tuple(found[0] if found else None for found in names.images))


def _one_row_an_image(rows: _Rows, columns: Columns, options: FolderOptions, where: str) -> tuple[_Rows, Columns]:
    """One row for each image: repeated rows agree, or each holds one of the image's names.

    Where many images have several rows that differ in the class alone, these are joined: a row a finding.
    """
    used = [name for name in (*columns.labels, columns.group, columns.split) if name is not None]
    values = list(zip(*(rows.rows[name].tolist() for name in used), strict=True))
    of_image: dict[tuple[bool, str], list[int]] = {}
    for at, (image, name) in enumerate(zip(rows.images, rows.rows[columns.file].tolist(), strict=True)):
        of_image.setdefault((image is None, name if image is None else image), []).append(at)
    first = [found[0] for found in of_image.values()]
    differing = [found for found in of_image.values() if len({values[at] for at in found}) > 1]
    num_repeats = len(values) - len(first)
    if not differing:
        return rows.take(
            first, *([f"left out: {num_repeats} rows that repeat another"] if num_repeats else [])
        ), columns
    may_join = columns.form.form != "columns" and all(len({values[at][1:] for at in found}) == 1 for found in differing)
    is_long = options.kind is None and len(differing) > max(1, _LONG_SHARE * len(first))
    if not may_join or not (is_long or options.kind == "multilabel"):
        before, at = next((f[0], at) for f in differing for at in f if values[at] != values[f[0]])
        column = next(name for name, a, b in zip(used, values[before], values[at], strict=True) if a != b)
        way = ", or join such rows with --kind multilabel" if may_join else ""
        raise InputError(
            f"{where}: rows {rows.rows.index[before]} and {rows.rows.index[at]} both name "
            f"{rows.rows[columns.file].iloc[at]!r} but differ in {column!r}; correct the table{way}"
        )
    label, separators = columns.labels[0], columns.form.separators
    texts = rows.rows[label].tolist()
    cells = [_joined_cell([texts[at] for at in found], separators) for found in of_image.values()]
    joined = rows.take(first, f"a row a name: {num_repeats} rows are joined to others of the same image in {label!r}")
    joined = replace(joined, rows=joined.rows.assign(**{label: cells}))
    return joined, replace(columns, form=LabelForm("joined", separators or ","))


def _joined_cell(texts: Sequence[str], separators: str) -> str:
    """The names of several cells as a list in one, each once."""
    names = [name for text in texts for name in (split_names(text, separators) if separators else [text]) if name]
    return str(list(dict.fromkeys(names))) if names else ""


def _ids(rows: _Rows, columns: Columns, names: ImageNames) -> np.ndarray:
    """(N,) the names in the table; where a row stands for a folder, the paths."""
    if names.names_folders:
        return np.array(rows.images, dtype=np.str_)
    return np.array(rows.rows[columns.file].tolist(), dtype=np.str_)


def _groups(rows: _Rows, ids: np.ndarray, columns: Columns, options: FolderOptions) -> tuple[np.ndarray, str]:
    """(N,) the patient of each image, its first spelling; images of unknown patients alone; and a line on it."""
    if options.group_column == NONE:
        return ids, "groups: none, as said"
    if columns.group is None:
        if by_name := groups_of_names(ids.tolist()):
            return by_name
        ask = "name the patients' column with --group-column if there is one"
        if columns.maybe_groups:
            ask = f"could it be {' or '.join(f'--group-column {name!r}' for name in columns.maybe_groups[:4])}?"
        return ids, f"{NO_GROUPS}; {ask}"
    texts = rows.rows[columns.group].tolist()
    spelling: dict[str, str] = {}
    groups, num_blank = [], 0
    for name, text in zip(ids.tolist(), texts, strict=True):
        if text.lower() in BLANK_GROUPS:
            num_blank += 1
            groups.append(f"image {name}")
        else:
            groups.append(spelling.setdefault(group_key(text), text))
    line = f"groups: {len(set(groups))} by {columns.group!r}"
    if merged := len({text for text in texts if text.lower() not in BLANK_GROUPS}) - len(spelling):
        odd = next(t for t in texts if t.lower() not in BLANK_GROUPS and spelling[group_key(t)] != t)
        line += f"; {spelling[group_key(odd)]!r} and {odd!r} are one ({merged} such)"
    if num_blank:
        line += f"; {num_blank} images without one stand alone"
    return np.array(groups, dtype=np.str_), line


def _with_sample(parsed: ParsedDataset) -> ParsedDataset:
    """`parsed` with the channels, and notes on the official parts and on the images' size and colour."""
    table, notes = parsed.table, list(parsed.notes)
    sample = sample_images([item.path for item in table.items])
    if table.official is not None:
        names, counts = np.unique(table.official, return_counts=True)
        notes.append("official parts: " + ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True)))
    notes.append(sample.line)
    return replace(parsed, channels=3 if sample.is_colour else 1, notes=tuple(notes))
