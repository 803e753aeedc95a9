"""Finds the column of a label table that names the images, and each row's images."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import pandas as pd

from xlite.data.sources.cells import is_number
from xlite.data.sources.folder_options import FolderOptions
from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.near_names import NearNames
from xlite.errors import InputError

_NUM_COMPARED = 500
_UNIQUE_SHARE = 0.9
_NEAR_SHARE = 0.5
_HARMLESS = ("suffix", "case", "Unicode form")
_FILE_NAME = re.compile(
    r"(image|img|file|photo|picture|scan|dicom)[ _]?(id|name|path|index|file|uid)?s?|(file)?path|filename", re.I
)


@dataclass(frozen=True)
class ImageNames:
    """The column that names images, and what each row names.

    Attributes:
        column: its name.
        images: for each row the paths it can mean: none, one, or several if ambiguous; of a folder all in it.
        names_folders: whether each row stands for all images of a folder.
        notes: lines to show to the user.
    """

    column: str
    images: tuple[tuple[str, ...], ...]
    names_folders: bool = False
    notes: tuple[str, ...] = ()


def names_images(rows: pd.DataFrame, files: ImageFiles, options: FolderOptions) -> bool:
    """Whether the given file column, or else any column, names an image, or a folder of images."""
    columns = [rows[str(name)] for name in rows.columns if options.file_column in (None, name)]
    return any(_names_any(column, files.find) or _names_any(column, _in_folder(files)) for column in columns)


def image_names(rows: pd.DataFrame, files: ImageFiles, options: FolderOptions, where: str) -> ImageNames:
    """The given column, or the only one that names images; of columns that name the same ones, the longest names.

    Names that differ from a file in suffix, case or Unicode form alone are taken with a note; where no row names an
    image as it is and the column is given, also those that differ in their folders or leading zeros.

    Raises:
        InputError: no column names images; several name different ones; the message names the option to choose by.
    """
    given = options.file_column
    taken: set[str | None] = {*options.label_column, options.group_column, options.split_column}
    columns = [str(name) for name in rows.columns]
    names: list[str] = (
        [given] if given else [name for name in columns if name not in taken and (rows[name] != "").any()]
    )
    if found := [name for name in names if _names_any(rows[name], files.find)]:
        column = _one_of(found, rows, files, names, where)
        return _with_near(ImageNames(column, tuple(files.find(value) for value in rows[column])), rows, files, where)
    folders = {name: list(map(_in_folder(files), rows[name])) for name in names}
    column = max(names, key=lambda name: sum(map(bool, folders[name])), default="")
    if any(folders.get(column, ())):
        num_images = sum(map(len, folders[column]))
        note = f"{where}: {column!r} names folders: each of their {num_images} images has the folder's labels"
        return ImageNames(column, tuple(folders[column]), names_folders=True, notes=(note,))
    return _nearly_named(rows, files, names, where, is_given=given is not None)


def _with_near(names: ImageNames, rows: pd.DataFrame, files: ImageFiles, where: str) -> ImageNames:
    """`names` with the images that the other rows name but for suffix, case or Unicode form."""
    if all(names.images):
        return names
    index, taken = NearNames(files), {path for found in names.images for path in found}
    near = [None if found else index.find(value) for found, value in zip(names.images, rows[names.column], strict=True)]
    usable = [one if one and one[1] in _HARMLESS and one[0] not in taken else None for one in near]
    if not any(usable):
        return names
    images = tuple(found or ((one[0],) if one else ()) for found, one in zip(names.images, usable, strict=True))
    return replace(names, images=images, notes=(_near_note(usable, rows[names.column], where),))


def _one_of(found: list[str], rows: pd.DataFrame, files: ImageFiles, names: Sequence[str], where: str) -> str:
    # Numbers can match image names by chance (age 7 and 7.png): prefer values that are not numbers, or not repeated.
    for preferred in (
        [name for name in found if not all(map(is_number, _distinct(rows[name])))],
        [name for name in found if rows[name].nunique() >= _UNIQUE_SHARE * len(rows)],
    ):
        found = [name for name in found if name in preferred] or found
    at = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _NUM_COMPARED)).astype(int))
    if len({tuple(files.find(value) for value in rows[name].iloc[at]) for name in found}) > 1:
        raise InputError(
            f"{where}: columns {listed(found)} could each name the images; use {choices('--file-column', found)}"
        )
    column = max(found, key=lambda name: (rows[name].iloc[at].str.len().sum(), -found.index(name)))
    others = [name for name in names if name != column and _FILE_NAME.fullmatch(name) and name not in found]
    if len(names) > 1 and others and all(map(is_number, _distinct(rows[column]))):
        other = others[0]
        raise InputError(
            f"{where}: {other!r} looks like the file names, but names no image ({_example(rows[other])}); the numbers "
            f"of {column!r} do; correct {other!r}, or use --file-column {column!r}"
        )
    return column


def _nearly_named(
    rows: pd.DataFrame, files: ImageFiles, names: Sequence[str], where: str, *, is_given: bool
) -> ImageNames:
    """The names that fit but for a little; see `image_names`."""
    best: tuple[float, str, list[tuple[str, str] | None]] | None = None
    index = NearNames(files)
    for name in names:
        near = [index.find(value) for value in rows[name]]
        share = len({one[0] for one in near if one is not None}) / len(rows)  # a column of 0 and 1 names two images
        if share >= _NEAR_SHARE and (best is None or share > best[0]):
            best = (share, name, near)
    if best is None:
        _no_images(rows, files, names, where)
    _, column, near = best
    note = _near_note(near, rows[column], where)
    kinds = {one[1] for one in near if one is not None}
    if not is_given and not kinds <= set(_HARMLESS):
        raise InputError(f"{note}; correct them, or take them so with --file-column {column!r}")
    return ImageNames(column, tuple((one[0],) if one else () for one in near), notes=(f"{note}: taken nevertheless",))


def _near_note(near: Sequence[tuple[str, str] | None], values: "pd.Series[str]", where: str) -> str:
    kinds = Counter(one[1] for one in near if one is not None)
    shown, on_disk = next((value, one[0]) for one, value in zip(near, values, strict=True) if one is not None)
    return (
        f"{where}: {kinds.total()} names in {values.name!r} differ from the files in {' or '.join(kinds)} alone "
        f"({shown!r} in the table, {on_disk!r} on disk)"
    )


def _no_images(rows: pd.DataFrame, files: ImageFiles, names: Sequence[str], where: str) -> NoReturn:
    if not files.images:
        raise InputError(f"{files.folder}: no image in it; add the images that {where} names")
    shown = "; ".join(f"{name!r} has {_example(rows[name])}" for name in names[:4])
    raise InputError(
        f"{where}: no column names images of the folder: {shown}; on disk is {files.images[0]!r}; correct the "
        "names, or use --table none for folders as classes"
    )


def _in_folder(files: ImageFiles) -> Callable[[str], tuple[str, ...]]:
    """`files.in_folder` of names that are paths: a class may be called as a folder is."""
    return lambda name: files.in_folder(name) if "/" in name or "\\" in name else ()


def _names_any(values: "pd.Series[str]", find: Callable[[str], tuple[str, ...]]) -> bool:
    return any(find(value) for value in _distinct(values))


def _distinct(values: "pd.Series[str]") -> list[str]:
    return [value for value in values.unique().tolist() if value]


def _example(values: "pd.Series[str]") -> str:
    return repr(next((value for value in values if value), "")[:60])


def listed(names: Sequence[str] | np.ndarray) -> str:
    """At most twelve names in quotes, and how many more."""
    shown = ", ".join(repr(str(name)[:60]) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


def choices(option: str, names: Sequence[str]) -> str:
    """The option with each of at most twelve names, joined by "or"."""
    return " or ".join(f"{option} {name!r}" for name in names[:12])
