"""Chooses the label table of a folder; what looks like one and is not used is an error or a note."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from xlite.data.sources.class_folders import top_folders
from xlite.data.sources.columns import is_label_name
from xlite.data.sources.csv_text import read_bytes
from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.image_names import image_names, names_images
from xlite.data.sources.part_lists import part_of_file
from xlite.data.sources.tables import LabelTable, is_table, is_unread_table, read_table
from xlite.errors import InputError

_MAX_TABLES = 30
_MANY_ROWS = 10
PART_COLUMN = "part (by the table)"
"""The column added where each part has a table of its own."""


def choose_table(files: ImageFiles, options: FolderOptions) -> "LabelTable | tuple[str, ...]":
    """The table that names images; without one, notes on the other tables if there are class folders.

    Tables of one form named after parts, such as train.csv and valid.csv, are read as one.

    Raises:
        InputError: several tables could be the one; one that looks like labels cannot be read or names no image; the
            message names the option to choose by.
    """
    if options.table == NONE:
        if options.names_columns:
            raise InputError(f"{files.folder}: --table none, but columns are given; leave one of them out")
        return ("tables are not read, as said",)
    if options.table is not None:
        path = files.folder / options.table
        if not path.is_file():
            names = ", ".join(path.name for path in _table_paths(files)) or "none"
            raise InputError(f"{path}: no such table; there are {names}")
        return read_table(path)
    tables = [read_table(path) for path in _distinct(_table_paths(files))]
    naming = [table for table in tables if names_images(table.rows, files, options)]
    naming, notes = _without_bare(naming, options)
    others = [table for table in tables if table not in naming and not any(table.path.name in note for note in notes)]
    if len(naming) > 1 and (one := _parts_as_one(naming, files)):
        naming = [one]
    if len(naming) > 1:
        raise InputError(
            f"{files.folder}: {', '.join(table.path.name for table in naming)} each name images; use "
            + " or ".join(f"--table {_shown(table, files)!r}" for table in naming)
        )
    if naming and (joined := _joined(naming[0], others)):
        return joined
    notes += [f"{table.path.name} names no image; it is left out" for table in others]
    if naming:
        return replace(naming[0], notes=(*naming[0].notes, *notes))
    return _no_table_names_images(files, tables, options, notes)


def _table_paths(files: ImageFiles) -> list[Path]:
    """Tables in the folder itself, else in the folders below."""
    top = [files.folder / path for path in files.others if "/" not in path]
    found = sorted(path for path in top if is_table(path))
    if (unread := [path for path in top if is_unread_table(path)]) and not found:
        raise InputError(f"{unread[0]}: tables of this format are not read; save it as CSV, or say --table none")
    if found:
        return found
    below = (path for path in files.others if "/" in path and Path(path).suffix.lower() not in ("", ".txt"))
    paths = sorted(files.folder / path for path in below if is_table(files.folder / path))
    return paths if len(paths) <= _MAX_TABLES else []


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Without those of equal content to an earlier one."""
    first: dict[bytes, Path] = {}
    for path in paths:
        first.setdefault(hashlib.sha256(read_bytes(path)).digest(), path)
    return list(first.values())


def _without_bare(tables: Sequence[LabelTable], options: FolderOptions) -> tuple[list[LabelTable], list[str]]:
    """Without tables that have nothing but names, and forms to fill in; with notes on these."""
    kept, notes = [], []
    for table in tables:
        if len(table.rows.columns) < 2 and len(tables) > 1:
            notes.append(f"{table.path.name} has names alone; it is left out")
        elif "submission" in table.path.name.lower() and len(tables) > 1:
            notes.append(f"{table.path.name} is a form for a challenge's answers; it is left out")
        else:
            kept.append(table)
    return kept, notes


def _parts_as_one(tables: Sequence[LabelTable], files: ImageFiles) -> LabelTable | None:
    """train.csv, valid.csv ... of equal columns as one table with a column of parts; None for others."""
    parts = {table.path: part_of_file(table.path) for table in tables}
    columns = {tuple(table.rows.columns) for table in tables}
    if None in parts.values() or len(columns) > 1 or "train" not in parts.values() or len(set(parts.values())) < 2:
        return None
    frames = [table.rows.assign(**{PART_COLUMN: parts[table.path]}) for table in tables]
    rows = pd.concat(frames, ignore_index=True)
    rows.index += 2
    names = " and ".join(table.path.name for table in tables)
    return LabelTable(tables[0].path, rows, (f"{names} are read as one table with the parts they are named after",))


def _joined(table: LabelTable, others: Sequence[LabelTable]) -> LabelTable | None:
    """The table with the labels of the only other one that has some for its patients; None where it has its own."""
    if any(is_label_name(name) for name in table.rows.columns):
        return None
    ways = [(other, key) for other in others for key in other.rows.columns if _can_join(table.rows, other.rows, key)]
    if len(ways) != 1:
        return None
    other, key = ways[0]
    labels = other.rows[[name for name in other.rows.columns if name == key or name not in table.rows.columns]]
    rows = table.rows.merge(labels, on=key, how="left").fillna("").set_index(table.rows.index)
    return replace(table, rows=rows, notes=(*table.notes, f"{other.path.name} is joined to it by {key!r}"))


def _can_join(rows: pd.DataFrame, other: pd.DataFrame, key: str) -> bool:
    """Whether `other` has one row with labels for each value of `key` in `rows`."""
    has_labels = any(is_label_name(name) and name not in rows.columns for name in other.columns)
    return has_labels and key in rows.columns and other[key].is_unique and rows[key].isin(other[key]).mean() > 0.9


def _no_table_names_images(
    files: ImageFiles, tables: Sequence[LabelTable], options: FolderOptions, notes: Sequence[str]
) -> "LabelTable | tuple[str, ...]":
    have_folders = len(top_folders(files)) >= 2
    if tables and (options.names_columns or not have_folders):
        if len(tables) > 1:
            names = ", ".join(table.path.name for table in tables)
            raise InputError(f"{files.folder}: {names} name no image in it; correct one of them")
        return tables[0]
    if options.names_columns:
        raise InputError(f"{files.folder}: columns are given, but there is no table; add one")
    for table in tables:
        if _looks_like_labels(table, files):
            image_names(table.rows, files, options, str(table.path))  # says how its names differ from the files
            return table
    return tuple(notes)


def _looks_like_labels(table: LabelTable, files: ImageFiles) -> bool:
    """Whether a table that names no image seems to be meant to: by its columns' names, or its many rows."""
    named = any(is_label_name(name) for name in table.rows.columns)
    return named or len(table.rows) >= max(_MANY_ROWS, len(files.images) / 2)


def _shown(table: LabelTable, files: ImageFiles) -> str:
    return table.path.relative_to(files.folder).as_posix()
