"""Reads images whose class is the name of a folder, below train/, val/ and test/ or not."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from xlite.data.sources import ParsedDataset
from xlite.data.sources.cells import PARTS
from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.data.sources.given_parts import groups_in_several
from xlite.data.sources.image_files import SUFFIXES, ImageFiles
from xlite.data.sources.image_targets import class_targets
from xlite.data.sources.listing import check_labels
from xlite.data.sources.name_groups import groups_of_names
from xlite.data.sources.part_lists import listed_parts
from xlite.data.table import Table
from xlite.errors import InputError

_MAX_CLASS_FOLDERS, _MIN_IMAGES_OF_CLASS = 20, 5
_MIN_GROUP_FOLDERS = 10
NO_GROUPS = "no group column: images of one patient may be in several parts of the split"


def top_folders(files: ImageFiles) -> set[str]:
    """The names of the folders in the data set's folder that hold images."""
    return {path.split("/")[0] for path in files.images if "/" in path}


def read_class_folders(files: ImageFiles, options: FolderOptions, notes: Sequence[str]) -> ParsedDataset:
    """Read images by the folder that is their class.

    Raises:
        InputError: no class folders; one that may be a part or a class; folders of two levels may be the classes.
    """
    where = str(files.folder)
    if options.threshold is not None or options.uncertain != "ignore":
        option = "--uncertain" if options.threshold is None else "--threshold-labels"
        raise InputError(f"{where}: {option} is for a table, and here the folders are the classes; leave it out")
    depth = _part_depth(files, options)
    level = depth + (options.class_level or 1) - 1
    images = [path for path in files.images if path.count("/") > level]
    if not images:
        raise InputError(
            f"{where}: no class folders in {', '.join(sorted(top_folders(files)))}; add one for each class"
        )
    if options.class_level is None:
        _ask_level(images, depth, where)
    classes = [path.split("/")[level] for path in images]
    if len(set(classes)) == 1 and options.class_level is None:
        _say_what_lies_below(files, images, level)
    classes = ["" if options.says_unknown(name) else name for name in classes]
    targets = class_targets(classes, options, where)
    check_labels(targets.labels, where)
    ids = np.array(images, dtype=np.str_)
    official = None
    if options.split_column != NONE:
        if depth:
            official = np.array([PARTS[path.split("/")[0].lower()] for path in images])
        else:
            official, listing = listed_parts(files, images)
            notes = (*notes, *listing)
    lines = [f"{where}: {len(images)} images in class folders", *notes]
    if official is not None and set(official) == {"train"}:
        lines.append("the other parts have no class folders: the parts are drawn anew from train/")
        official = None
    if loose := len(files.images) - len(images):
        lines.append(f"left out: {loose} images in no class folder")
    lines += _folders_without_images(files, depth, set(classes))
    groups, grouping = _groups(images, level, options)
    if official is not None and (shared := groups_in_several(groups, official)):
        grouping += (
            f"; {len(shared)} of them are in several of the given parts, e.g. {shared[0]!r}: --split patient draws a "
            "new split that keeps each in one"
        )
    items = tuple(map(files.item, images))
    table = Table(ids, items, groups, targets.values, targets.labels, official)
    return ParsedDataset(table, kind=targets.kind, notes=(*lines, *targets.notes, grouping))


def _part_depth(files: ImageFiles, options: FolderOptions) -> int:
    """1 if the topmost folders are parts, 0 if they are classes."""
    tops = top_folders(files)
    if not tops:
        raise InputError(
            f"{files.folder}: no folder of images in it and no table that names images; add one folder per class, or a "
            f"table (images end in {', '.join(SUFFIXES)})"
        )
    if options.kind == "multilabel":
        raise InputError(f"{files.folder}: class folders give one class per image; --kind multilabel needs a table")
    parts = sorted(top for top in tops if top.lower() in PARTS)
    if parts and (len(parts) < len(tops) or "train" not in {PARTS[top.lower()] for top in parts}):
        other = sorted(tops - set(parts))
        problem = f"beside {other[0]}/" if other else "without train/"
        raise InputError(
            f"{files.folder}: {parts[0]}/ {problem} could be a part or a class; keep only train/, val/ and test/, or "
            "rename it"
        )
    return 1 if parts else 0


def _ask_level(images: Sequence[str], depth: int, where: str) -> None:
    """Ask which folders are the classes where two levels could be."""
    folders = [path.split("/")[depth:-1] for path in images]
    top = Counter(each[0] for each in folders)
    if len(top) < 2 or min(map(len, folders)) < 2:
        return
    for level in range(1, min(map(len, folders))):
        names = Counter(each[level] for each in folders)
        if len(names) < 2:
            continue
        if len(names) > _MAX_CLASS_FOLDERS or min(names.values()) < _MIN_IMAGES_OF_CLASS:
            return
        raise InputError(
            f"{where}: the classes could be {_few(top)} or, below, {_few(names)}; say --class-level 1 or "
            f"--class-level {level + 1}"
        )


def _few(names: Counter[str]) -> str:
    shown = sorted(names)[:6]
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _say_what_lies_below(files: ImageFiles, images: Sequence[str], level: int) -> None:
    """With one class only, point to the folder below that has several folders."""
    folders = [path.split("/")[:-1] for path in images]
    for depth in range(level + 1, min(map(len, folders))):
        names = Counter(each[depth] for each in folders)
        if len(names) > 1:
            below = "/".join(folders[0][:depth])
            raise InputError(
                f"{files.folder}: only the class {folders[0][level]!r} is there, but {below}/ holds {_few(names)}; if "
                f"these are the classes, use --data {files.folder / below}"
            )


def _folders_without_images(files: ImageFiles, depth: int, classes: set[str]) -> list[str]:
    """Notes on folders beside the classes that hold nothing.

    Raises:
        InputError: one holds files alone that are not read: a class would be lost.
    """
    for folder, counts in files.unread_in(depth).items():
        if folder.split("/")[depth] not in classes and folder.count("/") == depth:
            formats = ", ".join(f"{suffix or 'no suffix'} {count}" for suffix, count in counts.items())
            raise InputError(
                f"{files.folder / folder}: no image that can be read in this class folder ({formats}); convert them to "
                "PNG, or move the folder away"
            )
    empty = [path.split("/")[depth] for path in files.empty_folders if path.count("/") == depth]
    return [f"no image in the class folder {name}/" for name in sorted(set(empty) - classes)]


def _groups(images: Sequence[str], level: int, options: FolderOptions) -> tuple[np.ndarray, str]:
    """(N,) groups and a line on them: folders below the classes, or what the names share, or each image its own."""
    ids = np.array(images, dtype=np.str_)
    if options.group_column == NONE:
        return ids, "groups: none, as said"
    below = ["/".join(path.split("/")[level + 1 : -1]) for path in images]
    first = [text.split("/")[0] for text in below]
    if all(below):
        deepest = next((texts for texts in (first, below) if len(set(texts)) >= _MIN_GROUP_FOLDERS), None)
        if deepest is not None:
            count = len(set(deepest))
            note = f"groups: {count} by the folders below the classes; --group-column none takes each image alone"
            return np.array(deepest, dtype=np.str_), note
    if by_name := groups_of_names(images):
        return by_name
    return ids, f"{NO_GROUPS}; a table can name the patients"
