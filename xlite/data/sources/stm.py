"""STM scans with a label for each line: .npz, .npy or Nanonis .sxm files and one CSV of line labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.scan_lines import SCAN_SUFFIXES, load_scan, missing_lines, tile_windows
from xlite.data.sources import ParsedDataset
from xlite.data.sources.csv_text import csv_rows
from xlite.data.sources.listing import check_labels, find_one, first_row, read_columns
from xlite.data.sources.walk import check_folder
from xlite.data.table import Table
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError
from xlite.storage.text import has_control_characters

_TABLE = "lines.csv"
_COLUMNS = ("scan", "line", "label")
_GROUP = "group"


@dataclass(frozen=True)
class _Scan:
    """A readable scan; `classes` (lines,) is the class number of each line, -1 if unknown."""

    name: str
    path: Path
    group: str
    classes: np.ndarray


def read_stm(folder: Path, *, allow_missing: bool = False, window_lines: int = 32) -> ParsedDataset:
    """Read scans in a folder (or its folder `scans`) and its table of line labels; an example is a window of lines.

    The table is lines.csv, or the only CSV (.csv or .csv.gz), with the columns scan (file name, with or without its
    suffix), line (row of the scan as stored, from 0), label (class; empty: unknown) and optionally group (sample or
    session; by default each scan is its own group). Lines not in the table are unknown. Windows tile a scan; the last
    one is aligned with the scan's end, and the lines it shares with the window before have targets only there. Windows
    without a known line are left out. A line with less than half of its points measured is unknown.

    Args:
        allow_missing: leave out scans that are in the table but not in the folder.
        window_lines: H; 0: one window per scan, as long as the longest scan.

    Returns:
        A multiclass data set: ids like "scan:0032" (the first line), targets (N, H, L) one-hot or NaN, auxiliary (N, 1)
        the number of real lines, `Item.detail` for a `ScanLinePreprocess` whose window_lines is H. `excluded` and
        `missing` name whole scans.

    Raises:
        InputError: no folder, scan or table, or several tables; a missing column; no rows; a row without a scan name,
            with an unknown scan and no `allow_missing`, with a line that is not a number, lies outside its scan or is
            repeated, or with another group than the rest of its scan; fewer than two classes; no readable scan; as
            `load_scan`.
    """
    check_folder(folder)
    if window_lines < 0:
        raise InputError(f"window_lines must be at least 0 (whole scans), but got {window_lines}")
    path = _find_table(folder)
    rows = _read_rows(path)
    files = _find_scans(folder)
    rows, missing = _resolve(path, rows, files, allow_missing)
    _check_lines(path, rows)
    labels = _classes(path, rows["label"])
    scans, excluded = _load(path, rows, files, labels)
    known = np.unique(np.concatenate([scan.classes for scan in scans]))
    if (known >= 0).sum() < 2:
        raise InputError(f"{path}: fewer than two classes among the readable lines; label lines of two or more")
    table, num_unlabelled = _windows(scans, labels, window_lines)
    notes = []
    if unlabelled := sorted(set(files) - set(rows["scan"])):
        notes.append(f"{folder}: {len(unlabelled)} scans have no labels, e.g. {unlabelled[0]}; they are left out")
    if num_unlabelled:
        notes.append(f"{path}: {num_unlabelled} windows have no labelled line; they are left out")
    num_scans = len(scans) + len(missing) + len(excluded)
    return ParsedDataset(table, missing, tuple(notes), kind="multiclass", excluded=excluded, num_units=num_scans)


def _find_table(folder: Path) -> Path:
    path = find_one(folder, _TABLE)
    if path is not None:
        return path
    paths = sorted(p for pattern in ("*.csv", "*.csv.gz") for p in folder.glob(pattern) if p.is_file())
    if not paths:
        raise InputError(f"{folder}: no {_TABLE}; add a table with the columns {', '.join(_COLUMNS)}")
    if len(paths) > 1:
        names = ", ".join(p.name for p in paths)
        raise InputError(f"{folder}: which of {names} holds the line labels? rename it to {_TABLE}")
    return paths[0]


def _read_rows(path: Path) -> pd.DataFrame:
    """The table as text; `group` is "" if there is no such column."""
    header = [name.strip() for name in csv_rows(path)[0]]
    columns = (*_COLUMNS, _GROUP) if _GROUP in header else _COLUMNS
    rows = read_columns(path, columns)
    if rows.empty:
        raise InputError(f"{path}: no rows; write one for each labelled line")
    return rows if _GROUP in rows else rows.assign(group="")


def _find_scans(folder: Path) -> dict[str, Path]:
    """Scan files by name."""
    files: dict[str, Path] = {}
    for subfolder in (folder, folder / "scans"):
        if subfolder.is_dir():
            for path in sorted(p for p in subfolder.iterdir() if p.suffix in SCAN_SUFFIXES and p.is_file()):
                if has_control_characters(path.name):
                    raise InputError(f"{subfolder}: the file name {path.name!r} holds control characters; rename it")
                if path.name in files:
                    raise InputError(f"{path}: is in {folder} too; keep one of the two")
                files[path.name] = path
    if not files:
        raise InputError(f"{folder}: no scan ({', '.join(SCAN_SUFFIXES)}) in it or in its folder scans; add the scans")
    return files


def _resolve(
    path: Path, rows: pd.DataFrame, files: dict[str, Path], allow_missing: bool
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of existing scans, with file names as scan names, and the names of the missing scans."""
    found: dict[str, str] = {}
    missing = []
    for row, name in rows["scan"].drop_duplicates().items():
        if not name:
            raise InputError(f"{path}: row {row} has no scan; write the scan's file name")
        matches = [name] if name in files else [name + suffix for suffix in SCAN_SUFFIXES if name + suffix in files]
        if len(matches) > 1:
            raise InputError(f"{path}: row {row}: which of {', '.join(matches)} is {name!r}? write the whole file name")
        if matches:
            found[name] = matches[0]
        elif allow_missing:
            missing.append(name)
        else:
            raise InputError(f"{path}: row {row}: no scan file {name!r}; add it or pass --allow-missing")
    if not found:
        raise InputError(f"{path}: none of the {len(missing)} scans is there, e.g. {missing[0]}; put them beside it")
    rows = rows.assign(scan=rows["scan"].map(found))
    return rows[rows["scan"].notna()], tuple(missing)


def _check_lines(path: Path, rows: pd.DataFrame) -> None:
    """Check that lines are numbers and not repeated, and that every scan has one group."""
    if (row := first_row(rows, ~rows["line"].str.fullmatch(r"[0-9]{1,9}"))) is not None:
        raise InputError(f"{path}: row {row} has line {rows['line'][row]!r}; write the row of the scan, from 0")
    number = rows["line"].astype(np.int64)
    repeated = pd.DataFrame({"scan": rows["scan"], "line": number}).duplicated()
    if (row := first_row(rows, repeated)) is not None:
        first = first_row(rows, (rows["scan"] == rows["scan"][row]) & (number == number[row]))
        raise InputError(f"{path}: {rows['scan'][row]} line {number[row]} is in rows {first} and {row}; keep one")
    group_of = rows.groupby("scan")[_GROUP].transform("first")
    if (row := first_row(rows, rows[_GROUP] != group_of)) is not None:
        raise InputError(
            f"{path}: row {row} puts {rows['scan'][row]} into group {rows[_GROUP][row]!r}, an earlier row into "
            f"{group_of[row]!r}; give a scan one group"
        )


def _classes(path: Path, labels: "pd.Series[str]") -> tuple[str, ...]:
    """The class names, sorted by value if all are numbers, else by name."""
    names = sorted({name for name in labels.tolist() if name})
    if len(names) < 2:
        raise InputError(f"{path}: its lines have {len(names)} class; label lines of two or more")
    check_labels(names, str(path))
    try:
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    except ValueError:
        return tuple(names)


def _load(
    path: Path, rows: pd.DataFrame, files: dict[str, Path], labels: tuple[str, ...]
) -> tuple[list[_Scan], dict[str, str]]:
    """The readable scans in the order of their names, and name -> reason for the others."""
    scans, excluded = [], {}
    names = _short_names(files)
    for file_name, scan_rows in rows.groupby("scan"):
        file = files[str(file_name)]
        name = names[file.name]
        try:
            values = load_scan(file)
        except UnreadableImage as error:
            excluded[name] = error.reason
            continue
        except MemoryError:  # a damaged header can ask for any size
            excluded[name] = "it needs more memory than there is"
            continue
        lines = scan_rows["line"].astype(np.int64)
        if (row := first_row(scan_rows, lines >= len(values))) is not None:
            raise InputError(f"{path}: row {row} has line {lines[row]}, but {file.name} has lines 0-{len(values) - 1}")
        classes = np.full(len(values), -1)
        classes[lines] = [labels.index(label) if label else -1 for label in scan_rows["label"]]
        classes[missing_lines(values)] = -1
        scans.append(_Scan(name, file, scan_rows[_GROUP].iloc[0] or name, classes))
    if not scans:
        example = next(iter(excluded))
        raise InputError(
            f"{path}: none of the {len(excluded)} scans can be read, e.g. {example}: {excluded[example]}; "
            "download them again"
        )
    return scans, excluded


def _short_names(files: dict[str, Path]) -> dict[str, str]:
    """File name -> name without its suffix, or with it if two files differ only in the suffix."""
    stems = [path.stem for path in files.values()]
    short = {name: path.stem for name, path in files.items() if stems.count(path.stem) == 1 and path.stem not in files}
    return {name: short.get(name, name) for name in files}


def _windows(scans: list[_Scan], labels: tuple[str, ...], window_lines: int) -> tuple[Table, int]:
    """The table, and the number of windows left out for lack of a known line."""
    height = window_lines or max(len(scan.classes) for scan in scans)
    ids, items, groups, targets, num_lines = [], [], [], [], []
    num_unlabelled = 0
    one_hot = np.vstack([np.eye(len(labels), dtype=np.float32), np.full((1, len(labels)), np.nan, np.float32)])
    for scan in scans:
        for window in tile_windows(scan.path, len(scan.classes), height):
            end = window.start + window.lines
            classes = np.full(height, -1)
            classes[window.first : window.lines] = scan.classes[window.start + window.first : end]
            if (classes < 0).all():
                num_unlabelled += 1
                continue
            ids.append(f"{scan.name}:{window.start:04d}")
            items.append(window.item)
            groups.append(scan.group)
            targets.append(one_hot[classes])
            num_lines.append([window.lines])
    auxiliary = np.array(num_lines, dtype=np.int64)
    return Table(
        np.array(ids), tuple(items), np.array(groups), np.stack(targets), labels, auxiliary=auxiliary
    ), num_unlabelled
