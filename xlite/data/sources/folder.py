"""Any folder of labelled images: a folder a class, or a table of names and labels; described before it is used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.sources import ParsedDataset
from xlite.data.sources.columns import PARTS, ColumnOverrides, Columns, names_images, recognise
from xlite.data.sources.image_files import SUFFIXES, ImageFiles, list_images, look_at
from xlite.data.sources.image_targets import class_targets, table_targets
from xlite.data.sources.listing import check_labels, csv_rows, read_bytes, read_text
from xlite.data.sources.nih import MAX_MISSING
from xlite.data.table import Item, Table
from xlite.errors import InputError

_TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SAME_PATIENT = "images of one patient may stand on both sides of the split"


def read_images(
    folder: Path,
    *,
    allow_missing: bool = False,
    column_overrides: ColumnOverrides = ColumnOverrides(),  # noqa: B008  frozen
) -> ParsedDataset:
    """Read a folder of labelled images (PNG, JPEG, TIFF, BMP, DICOM) as what it is recognised or `stated` to be.

    Either one table (.csv or .tsv, packed with gzip or not) lies in `folder` and names images in it or below: a column
    of 0/1 a label, one column of names joined by "|", ";" or ",", or one column of classes. Or each folder in `folder`
    is a class. train/, val/ and test/ above the classes, or a column of such words, are the official parts.

    Label columns and joined names give kind "multilabel"; classes "multiclass" with one-hot targets, however few;
    `stated.kind` "binary" makes one label of two classes. Ids are the names as the table writes them, or the paths in
    `folder`. `notes` say all that was understood.

    Raises:
        InputError: no images or labels; columns that cannot be told, with the options to choose by; a row that is
            broken, ambiguous or contradicts another; a patient in two official parts; nothing to learn; more than 1%
            of the table's images absent without `allow_missing`.
    """
    files = list_images(folder)
    found = _find_table(files, column_overrides)
    if isinstance(found, _LabelTable):
        return _read_rows(files, found, allow_missing, column_overrides)
    return _read_class_folders(files, column_overrides, found)


@dataclass(frozen=True)
class _LabelTable:
    """A table as stripped text; its index is the row in the file, header = 1. `notes`: on other tables."""

    path: Path
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def _find_table(files: ImageFiles, column_overrides: ColumnOverrides) -> "_LabelTable | tuple[str, ...]":
    """The one table that names images, or notes on those that do not where class folders stand beside them."""
    paths = sorted(
        files.folder / path for path in files.others if "/" not in path and path.lower().endswith(_TABLE_SUFFIXES)
    )
    paths = [path for i, path in enumerate(paths) if all(read_bytes(path) != read_bytes(other) for other in paths[:i])]
    tables = [_LabelTable(path, _read_table(path)) for path in paths]
    naming = [table for table in tables if names_images(table.rows, files.find, column_overrides)]
    notes = tuple(f"{table.path.name} names no image; it is left out" for table in tables if table not in naming)
    if len(naming) > 1:
        raise InputError(
            f"{files.folder}: {', '.join(table.path.name for table in naming)} each name images; keep the one that "
            "counts there"
        )
    if naming:
        return replace(naming[0], notes=notes)
    wants_table = bool(column_overrides.file_column or column_overrides.label_column or column_overrides.group_column)
    if tables and (wants_table or len(_top_folders(files)) < 2):
        if len(tables) > 1:
            raise InputError(f"{files.folder}: {', '.join(path.name for path in paths)} name no image that is there")
        return tables[0]
    if wants_table:
        raise InputError(f"{files.folder}: columns are stated, but no .csv or .tsv table lies there; put it there")
    return notes


def _read_table(path: Path) -> pd.DataFrame:
    text = read_text(path)
    first = text.split("\n", 1)[0]
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    delimiter = "\t" if is_tsv else max(",;\t", key=lambda character: first.count(character))
    lines = csv_rows(path, delimiter)
    header = [" ".join(name.split()) for name in lines[0]]
    if not any(header):
        raise InputError(f"{path}: not a table; row 1 must name the columns")
    if image := next((name for name in header if name.lower().endswith(SUFFIXES)), None):
        raise InputError(f"{path}: row 1 names the image {image!r}; put a row with the columns' names before it")
    if twice := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise InputError(f"{path}: two columns are named {twice[0]!r}; name them differently")
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in line]
        if not any(fields):
            continue
        if any(fields[len(header) :]):
            raise InputError(f"{path}: row {number} has {len(fields)} fields, row 1 has {len(header)}; mend that row")
        rows.append(fields[: len(header)] + [""] * (len(header) - len(fields)))
        numbers.append(number)
    if not rows:
        raise InputError(f"{path}: no rows below row 1; fill it")
    # A column without a name is the row number that pandas writes.
    named = [i for i, name in enumerate(header) if name]
    columns = {header[i]: pd.Series([row[i] for row in rows], index=numbers, dtype=object) for i in named}
    return pd.DataFrame(columns)


def _read_rows(
    files: ImageFiles, table: _LabelTable, allow_missing: bool, column_overrides: ColumnOverrides
) -> ParsedDataset:
    where, rows = str(table.path), table.rows
    if not files.images and not names_images(rows, files.find, column_overrides):
        raise InputError(f"{files.folder}: no image in it; put the images that {table.path.name} names there")
    columns = recognise(rows, files.find, column_overrides, where)
    for column, what in ((columns.file, "file"), (columns.group, "group"), (columns.split, "part")):
        if column is not None and (empty := rows.index[rows[column] == ""]).size:
            raise InputError(f"{where}: row {empty[0]} has no {what} in {column!r}; fill it or take the row out")
    images = _images_of_rows(files, rows, columns, where)
    num_rows = len(rows)
    rows, images = _without_repeats(rows, images, columns, where)
    notes = [_understood(table, columns, num_rows), *table.notes]
    if num_rows > len(rows):
        notes.append(f"left out: {num_rows - len(rows)} rows that repeat another")
    absent = np.array([image is None for image in images])
    missing = tuple(rows[columns.file][absent].tolist())
    _check_missing(where, missing, len(rows), allow_missing)
    rows = rows[~absent]
    there = [image for image in images if image is not None]
    targets = table_targets(rows, columns, column_overrides.kind, where)
    check_labels(targets.labels, where)
    ids = np.array(rows[columns.file].tolist(), dtype=np.str_)
    groups = ids if columns.group is None else np.array(rows[columns.group].tolist(), dtype=np.str_)
    official = _official_column(rows, columns) if columns.split else _official_folders(there)
    if official is not None:
        _check_parts(groups, official, columns, where)
    items = tuple(Item((files.folder / image,)) for image in there)
    reading = ParsedDataset(
        Table(ids, items, groups, targets.values, targets.labels, official), missing, kind=targets.kind
    )
    if missing:
        notes.append(f"missing: {len(missing)} of {len(missing) + len(rows)} images, e.g. {missing[0]}")
    if unnamed := len(set(files.images) - set(there)):
        notes.append(f"left out: {unnamed} images on disk that {table.path.name} does not name")
    grouping = f"groups: {len(np.unique(groups))} by {columns.group!r}"
    if columns.group is None:
        grouping = f"no group column: {_SAME_PATIENT}; name one with --group-column where there is one"
    return _described(reading, [*notes, *targets.notes, grouping])


def _understood(table: _LabelTable, columns: Columns, num_rows: int) -> str:
    labels = ", ".join(map(repr, columns.labels[:8])) + (" ..." if len(columns.labels) > 8 else "")
    form = {
        "columns": f"labels (0/1) in {labels}",
        "joined": f"labels in {labels}, joined by {columns.separator!r}",
        "class": f"class in {labels}",
    }[columns.form]
    out = f"; columns left out: {', '.join(columns.left_out)}" if columns.left_out else ""
    parts = f", parts in {columns.split!r}" if columns.split else ""
    return f"{table.path}: {num_rows} rows; images in {columns.file!r}, {form}{parts}{out}"


def _images_of_rows(files: ImageFiles, rows: pd.DataFrame, columns: Columns, where: str) -> list[str | None]:
    images: list[str | None] = []
    for row, name in rows[columns.file].items():
        found = files.find(name)
        if len(found) > 1:
            raise InputError(
                f"{where}: row {row} names {name!r}, which can be {found[0]} or {found[1]}; write more of the path"
            )
        images.append(found[0] if found else None)
    return images


def _without_repeats(
    rows: pd.DataFrame, images: list[str | None], columns: Columns, where: str
) -> tuple[pd.DataFrame, list[str | None]]:
    """The rows with each image once. Rows that name one image must agree in what is used of them."""
    used = [name for name in (*columns.labels, columns.group, columns.split) if name is not None]
    said = list(zip(*(rows[name].tolist() for name in used), strict=True))
    first: dict[tuple[bool, str], int] = {}
    keep = []
    for at, (image, name) in enumerate(zip(images, rows[columns.file].tolist(), strict=True)):
        before = first.setdefault((image is None, name if image is None else image), at)
        if before == at:
            keep.append(at)
        elif said[before] != said[at]:
            column = next(name for name, a, b in zip(used, said[before], said[at], strict=True) if a != b)
            raise InputError(
                f"{where}: rows {rows.index[before]} and {rows.index[at]} both name {name!r} but differ in {column!r}; "
                "keep one of them"
            )
    return rows.iloc[keep], [images[at] for at in keep]


def _check_missing(where: str, missing: tuple[str, ...], num_rows: int, allow_missing: bool) -> None:
    if len(missing) == num_rows:
        raise InputError(f"{where}: none of its {num_rows} images is there, e.g. {missing[0]!r}; put them beside it")
    if len(missing) > MAX_MISSING * num_rows and not allow_missing:
        raise InputError(
            f"{where}: {len(missing)} of its {num_rows} images ({len(missing) / num_rows:.1%}) are missing, e.g. "
            f"{missing[0]!r}; fetch them or pass --allow-missing"
        )


def _official_column(rows: pd.DataFrame, columns: Columns) -> np.ndarray:
    assert columns.split is not None
    return np.array([PARTS[value.lower()] for value in rows[columns.split]], dtype=np.str_)


def _check_parts(groups: np.ndarray, official: np.ndarray, columns: Columns, where: str) -> None:
    pairs = pd.DataFrame({"group": groups, "part": official}).drop_duplicates()
    shared = pairs["group"][pairs["group"].duplicated()]
    if len(shared):
        place = repr(columns.split) if columns.split else "the folders train, val and test"
        raise InputError(
            f"{where}: {columns.group or 'image'} {shared.iloc[0]!r} stands in several parts of {place} "
            f"({shared.nunique()} such); put each in one, or draw anew with --split patient and without those parts"
        )


def _official_folders(images: Sequence[str]) -> np.ndarray | None:
    """The parts where every image lies in a folder train, val or test at the top; else None."""
    parts = [PARTS.get(image.split("/")[0].lower()) if "/" in image else None for image in images]
    if None in parts or not {"train", "test"} <= set(parts):
        return None
    return np.array(parts, dtype=np.str_)


def _top_folders(files: ImageFiles) -> set[str]:
    return {path.split("/")[0] for path in files.images if "/" in path}


def _read_class_folders(files: ImageFiles, column_overrides: ColumnOverrides, notes: tuple[str, ...]) -> ParsedDataset:
    tops = _top_folders(files)
    if not tops:
        raise InputError(
            f"{files.folder}: no folder of images in it and no .csv or .tsv table that names images; make a folder a "
            f"class, or put a table there (images end in {', '.join(SUFFIXES)})"
        )
    if column_overrides.kind == "multilabel":
        raise InputError(f"{files.folder}: a folder a class gives one class of several; multilabel needs a table")
    in_parts = sorted(top for top in tops if top.lower() in PARTS)
    if in_parts and (len(in_parts) < len(tops) or "train" not in {PARTS[top.lower()] for top in in_parts}):
        other = sorted(tops - set(in_parts))
        problem = f"beside {other[0]}/" if other else "without train/"
        raise InputError(
            f"{files.folder}: {in_parts[0]}/ {problem} could be a part or a class; keep train/, val/ and test/ alone "
            "there, or rename it"
        )
    depth = 1 if in_parts else 0
    images = [path for path in files.images if path.count("/") > depth]
    if not images:
        raise InputError(f"{files.folder}: no folder a class below {', '.join(in_parts)}; make one for each class")
    targets = class_targets([path.split("/")[depth] for path in images], column_overrides.kind, str(files.folder))
    check_labels(targets.labels, str(files.folder))
    ids = np.array(images, dtype=np.str_)
    official = np.array([PARTS[path.split("/")[0].lower()] for path in images]) if in_parts else None
    items = tuple(Item((files.folder / path,)) for path in images)
    table = Table(ids, items, ids, targets.values, targets.labels, official)
    lines = [f"{files.folder}: {len(images)} images, a folder a class", *notes]
    if loose := len(files.images) - len(images):
        lines.append(f"left out: {loose} images in no class folder")
    lines += [*targets.notes, f"no group column: {_SAME_PATIENT}; a table can name the patients"]
    return _described(ParsedDataset(table, kind=targets.kind), lines)


def _described(reading: ParsedDataset, notes: list[str]) -> ParsedDataset:
    """With the channels, and the notes on parts and on what the images look like."""
    table = reading.table
    look = look_at([item.path for item in table.items])
    if table.official is not None:
        names, counts = np.unique(table.official, return_counts=True)
        notes.append("official parts: " + ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True)))
    notes.append(look.line)
    return replace(reading, channels=3 if look.is_colour else 1, notes=tuple(notes))
