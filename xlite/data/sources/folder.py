"""Reads any folder of labelled images: one folder per class, or a table of image names and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.sources import ParsedDataset
from xlite.data.sources.columns import PARTS, ColumnOverrides, Columns, names_images, recognise
from xlite.data.sources.image_files import SUFFIXES, ImageFiles, list_images, sample_images
from xlite.data.sources.image_targets import class_targets, table_targets
from xlite.data.sources.listing import check_labels, check_missing, csv_rows, read_bytes, read_text
from xlite.data.table import Item, Table
from xlite.errors import InputError

_TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_NO_GROUPS = "no group column: images of one patient may be in several parts of the split"


def read_images(
    folder: Path,
    *,
    allow_missing: bool = False,
    column_overrides: ColumnOverrides = ColumnOverrides(),  # noqa: B008  frozen
) -> ParsedDataset:
    """Read a folder of labelled images (PNG, JPEG, TIFF, BMP, DICOM); columns are recognised unless given.

    Either `folder` holds a table (.csv or .tsv, or either as .gz) that names images in it or below, with one 0/1 column
    per label, one column of names joined by "|", ";" or ",", or one column of classes. Or each folder in `folder` is a
    class. train/, val/ and test/ above the classes, or a column of such words, are the official parts.

    Label columns and joined names give kind "multilabel"; classes give "multiclass" with one-hot targets, also if there
    are only two; with `column_overrides.kind` "binary" two classes become one label. Ids are the names in the table, or
    the paths in `folder`. `notes` describe what was recognised.

    Raises:
        InputError: no images or labels; ambiguous columns, with the option to choose by; a row that is broken,
            ambiguous or contradicts another; a patient in two official parts; a label that cannot be learned; more than
            1% of the table's images missing without `allow_missing`.
    """
    files = list_images(folder)
    table = _find_table(files, column_overrides)
    if isinstance(table, _LabelTable):
        return _read_rows(files, table, allow_missing, column_overrides)
    return _read_class_folders(files, column_overrides, notes=table)


@dataclass(frozen=True)
class _LabelTable:
    """A table as stripped text; the index is the row in the file, the header is row 1. `notes`: on other tables."""

    path: Path
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def _find_table(files: ImageFiles, overrides: ColumnOverrides) -> "_LabelTable | tuple[str, ...]":
    """The table that names images; without one, notes on the other tables if there are class folders."""
    paths = sorted(
        files.folder / path for path in files.others if "/" not in path and path.lower().endswith(_TABLE_SUFFIXES)
    )
    paths = [path for i, path in enumerate(paths) if all(read_bytes(path) != read_bytes(other) for other in paths[:i])]
    tables = [_LabelTable(path, _read_table(path)) for path in paths]
    naming = [table for table in tables if names_images(table.rows, files.find, overrides)]
    notes = tuple(f"{table.path.name} names no image; it is left out" for table in tables if table not in naming)
    if len(naming) > 1:
        raise InputError(
            f"{files.folder}: {', '.join(table.path.name for table in naming)} each name images; keep "
            "only the right one"
        )
    if naming:
        return replace(naming[0], notes=notes)
    wants_table = bool(overrides.file_column or overrides.label_column or overrides.group_column)
    if tables and (wants_table or len(_top_folders(files)) < 2):
        if len(tables) > 1:
            raise InputError(
                f"{files.folder}: {', '.join(path.name for path in paths)} name no image in it; correct one of them"
            )
        return tables[0]
    if wants_table:
        raise InputError(f"{files.folder}: columns are given, but there is no .csv or .tsv table; add one")
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
        raise InputError(f"{path}: row 1 names the image {image!r}; add a header row before it")
    if repeated := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise InputError(f"{path}: two columns are named {repeated[0]!r}; rename one")
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in line]
        if not any(fields):
            continue
        if any(fields[len(header) :]):
            raise InputError(f"{path}: row {number} has {len(fields)} fields, row 1 has {len(header)}; fix that row")
        rows.append(fields[: len(header)] + [""] * (len(header) - len(fields)))
        numbers.append(number)
    if not rows:
        raise InputError(f"{path}: no rows below row 1; add the images' rows")
    # A column without a name is the index that pandas writes.
    named = [i for i, name in enumerate(header) if name]
    columns = {header[i]: pd.Series([row[i] for row in rows], index=numbers, dtype=object) for i in named}
    return pd.DataFrame(columns)


def _read_rows(files: ImageFiles, table: _LabelTable, allow_missing: bool, overrides: ColumnOverrides) -> ParsedDataset:
    where, rows = str(table.path), table.rows
    if not files.images and not names_images(rows, files.find, overrides):
        raise InputError(f"{files.folder}: no image in it; add the images that {table.path.name} names")
    columns = recognise(rows, files.find, overrides, where)
    for column, role in ((columns.file, "file"), (columns.group, "group"), (columns.split, "part")):
        if column is not None and (empty := rows.index[rows[column] == ""]).size:
            raise InputError(f"{where}: row {empty[0]} has no {role} in {column!r}; fill it in or remove the row")
    images = _images_of_rows(files, rows, columns, where)
    num_rows = len(rows)
    rows, images = _without_repeats(rows, images, columns, where)
    notes = [_table_note(table, columns, num_rows), *table.notes]
    if num_rows > len(rows):
        notes.append(f"left out: {num_rows - len(rows)} rows that repeat another")
    absent = np.array([image is None for image in images])
    missing = tuple(rows[columns.file][absent].tolist())
    fix = "put them beside it"
    check_missing(where, missing, len(rows), what="images", fix=fix, allow_missing=allow_missing)
    rows = rows[~absent]
    present = [image for image in images if image is not None]
    targets = table_targets(rows, columns, overrides.kind, where)
    check_labels(targets.labels, where)
    ids = np.array(rows[columns.file].tolist(), dtype=np.str_)
    groups = ids if columns.group is None else np.array(rows[columns.group].tolist(), dtype=np.str_)
    official = _official_column(rows, columns) if columns.split else _official_folders(present)
    if official is not None:
        _check_parts(groups, official, columns, where)
    items = tuple(Item((files.folder / image,)) for image in present)
    parsed = ParsedDataset(
        Table(ids, items, groups, targets.values, targets.labels, official), missing, kind=targets.kind
    )
    if missing:
        notes.append(f"missing: {len(missing)} of {len(missing) + len(rows)} images, e.g. {missing[0]}")
    if unnamed := len(set(files.images) - set(present)):
        notes.append(f"left out: {unnamed} images on disk that {table.path.name} does not name")
    grouping = f"groups: {len(np.unique(groups))} by {columns.group!r}"
    if columns.group is None:
        grouping = f"{_NO_GROUPS}; name the patients' column with --group-column if there is one"
    return _with_notes(parsed, [*notes, *targets.notes, grouping])


def _table_note(table: _LabelTable, columns: Columns, num_rows: int) -> str:
    """One line: the table, its rows and the roles of its columns."""
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
    """The image of each row, None if it does not exist."""
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
    """The rows without those that repeat an image; these must agree in all columns that are used."""
    used = [name for name in (*columns.labels, columns.group, columns.split) if name is not None]
    values = list(zip(*(rows[name].tolist() for name in used), strict=True))
    first: dict[tuple[bool, str], int] = {}
    keep = []
    for at, (image, name) in enumerate(zip(images, rows[columns.file].tolist(), strict=True)):
        before = first.setdefault((image is None, name if image is None else image), at)
        if before == at:
            keep.append(at)
        elif values[before] != values[at]:
            column = next(name for name, a, b in zip(used, values[before], values[at], strict=True) if a != b)
            raise InputError(
                f"{where}: rows {rows.index[before]} and {rows.index[at]} both name {name!r} but differ in {column!r}; "
                "keep one of them"
            )
    return rows.iloc[keep], [images[at] for at in keep]


def _official_column(rows: pd.DataFrame, columns: Columns) -> np.ndarray:
    assert columns.split is not None
    return np.array([PARTS[value.lower()] for value in rows[columns.split]], dtype=np.str_)


def _check_parts(groups: np.ndarray, official: np.ndarray, columns: Columns, where: str) -> None:
    pairs = pd.DataFrame({"group": groups, "part": official}).drop_duplicates()
    shared = pairs["group"][pairs["group"].duplicated()]
    if len(shared):
        source = repr(columns.split) if columns.split else "the folders train, val and test"
        raise InputError(
            f"{where}: {columns.group or 'image'} {shared.iloc[0]!r} is in several parts of {source} "
            f"({shared.nunique()} such); put each in one, or remove these parts and use --split patient"
        )


def _official_folders(images: Sequence[str]) -> np.ndarray | None:
    """(N,) the parts if every image lies in a top folder train, val or test, else None."""
    parts = [PARTS.get(image.split("/")[0].lower()) if "/" in image else None for image in images]
    if None in parts or not {"train", "test"} <= set(parts):
        return None
    return np.array(parts, dtype=np.str_)


def _top_folders(files: ImageFiles) -> set[str]:
    return {path.split("/")[0] for path in files.images if "/" in path}


def _read_class_folders(files: ImageFiles, overrides: ColumnOverrides, notes: tuple[str, ...]) -> ParsedDataset:
    tops = _top_folders(files)
    if not tops:
        raise InputError(
            f"{files.folder}: no folder of images in it and no .csv or .tsv table that names images; add one folder "
            f"per class, or a table (images end in {', '.join(SUFFIXES)})"
        )
    if overrides.kind == "multilabel":
        raise InputError(f"{files.folder}: class folders give one class per image; --kind multilabel needs a table")
    part_folders = sorted(top for top in tops if top.lower() in PARTS)
    if part_folders and (len(part_folders) < len(tops) or "train" not in {PARTS[top.lower()] for top in part_folders}):
        other = sorted(tops - set(part_folders))
        problem = f"beside {other[0]}/" if other else "without train/"
        raise InputError(
            f"{files.folder}: {part_folders[0]}/ {problem} could be a part or a class; keep only train/, "
            "val/ and test/, or rename it"
        )
    depth = 1 if part_folders else 0
    images = [path for path in files.images if path.count("/") > depth]
    if not images:
        raise InputError(f"{files.folder}: no class folders in {', '.join(part_folders)}; add one for each class")
    targets = class_targets([path.split("/")[depth] for path in images], overrides.kind, str(files.folder))
    check_labels(targets.labels, str(files.folder))
    ids = np.array(images, dtype=np.str_)
    official = np.array([PARTS[path.split("/")[0].lower()] for path in images]) if part_folders else None
    items = tuple(Item((files.folder / path,)) for path in images)
    table = Table(ids, items, ids, targets.values, targets.labels, official)
    lines = [f"{files.folder}: {len(images)} images in class folders", *notes]
    if loose := len(files.images) - len(images):
        lines.append(f"left out: {loose} images in no class folder")
    lines += [*targets.notes, f"{_NO_GROUPS}; a table can name the patients"]
    return _with_notes(ParsedDataset(table, kind=targets.kind), lines)


def _with_notes(parsed: ParsedDataset, notes: list[str]) -> ParsedDataset:
    """`parsed` with the channels, `notes`, and notes on the official parts and on the images' size and colour."""
    table = parsed.table
    sample = sample_images([item.path for item in table.items])
    if table.official is not None:
        names, counts = np.unique(table.official, return_counts=True)
        notes.append("official parts: " + ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True)))
    notes.append(sample.line)
    return replace(parsed, channels=3 if sample.is_colour else 1, notes=tuple(notes))
