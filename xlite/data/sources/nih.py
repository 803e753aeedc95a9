"""NIH ChestX-ray14 as distributed: Data_Entry_2017*.csv, images_*/images/*.png, the official lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.sources import ParsedDataset
from xlite.data.sources.csv_text import read_text
from xlite.data.sources.listing import check_missing, find_images, find_one, first_row, read_table
from xlite.data.sources.walk import check_folder
from xlite.data.table import Item, Table
from xlite.errors import InputError

LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"

_TABLE = "Data_Entry_2017*.csv"
_IMAGE, _FINDINGS, _PATIENT = _COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


def read_nih(folder: Path, *, allow_missing: bool = False) -> ParsedDataset:
    """Read a folder in NIH's layout: ids are image names, groups are patients, targets (N, 14) of 0 and 1.

    Images may lie in images_*/images/, images_*/, images/ or the folder itself.

    Raises:
        InputError: as `read_labels`; no image at all; more than 1% of the images missing without `allow_missing`.
    """
    labels = read_labels(folder)
    table = labels.table
    archives = [subfolder for path in sorted(folder.glob("images_*")) for subfolder in (path / "images", path)]
    images = find_images([*archives, folder / "images", folder])
    absent = np.array([name not in images.paths for name in table.ids.tolist()])
    missing = tuple(table.ids[absent].tolist())
    fix = "unpack NIH's archives so that they lie in images_*/images/"
    check_missing(folder, missing, len(table), what="images", fix=fix, allow_missing=allow_missing)
    table = table.take(np.flatnonzero(~absent))
    table = replace(table, items=tuple(Item((images.paths[name],)) for name in table.ids.tolist()))
    _check_any_finding(folder, table.targets)
    notes = list(labels.notes)
    if images.repeated:
        notes.append(f"{folder}: {len(images.repeated)} images are in two folders, e.g. {images.repeated[0]}")
    if unnamed := len(images.paths) - len(table):
        notes.append(f"{folder}: {unnamed} images on disk are not in the table; they are left out")
    return ParsedDataset(table, missing, tuple(notes))


def read_labels(folder: Path) -> ParsedDataset:
    """Read the label table only: `items` are paths in `folder` whether or not they exist, `missing` is empty.

    Raises:
        InputError: no folder, no table or several; a missing column; a row with an unknown, empty or contradictory
            label, no patient, or an id that is not a file name or is repeated; no finding in any row; official lists
            that omit an image, name one twice or share a patient.
    """
    check_folder(folder)
    path, rows = read_table(folder, _TABLE, _COLUMNS, what="NIH's label table")
    _check_ids(path, rows)
    if (row := first_row(rows, rows[_PATIENT] == "")) is not None:
        raise InputError(f"{path}: row {row} has no {_PATIENT}; fill it in")
    targets = _targets(path, rows)
    _check_any_finding(path, targets)
    ids, patients = _unicode(rows[_IMAGE]), _unicode(rows[_PATIENT])
    official, notes = _official(folder, ids, patients)
    items = tuple(Item((folder / name,)) for name in ids.tolist())
    return ParsedDataset(Table(ids, items, patients, targets, LABELS, official), notes=notes)


def _unicode(column: "pd.Series[str]") -> np.ndarray:
    return np.array(column.tolist(), dtype=np.str_)


def _check_ids(path: Path, rows: pd.DataFrame) -> None:
    ids = rows[_IMAGE]
    unsafe = (ids == "") | ids.str.contains(r"[/\\\0]|\.\.", regex=True)
    if (row := first_row(rows, unsafe)) is not None:
        raise InputError(f"{path}: row {row} has {_IMAGE} {ids[row]!r}; write a plain file name")
    if (row := first_row(rows, ids.duplicated())) is not None:
        first = first_row(rows, ids == ids[row])
        raise InputError(f"{path}: {ids[row]} is in rows {first} and {row}; keep one of them")


def _targets(path: Path, rows: pd.DataFrame) -> np.ndarray:
    """(N, 14) float32. Each of the few hundred distinct label strings is parsed once."""
    codes, distinct = pd.factorize(rows[_FINDINGS])
    vectors = np.zeros((len(distinct), len(LABELS)), dtype=np.float32)
    for code, text in enumerate(distinct):
        row = first_row(rows, codes == code)
        vectors[code] = _finding_vector(text, f"{path}: row {row}")
    return vectors[codes]


def _finding_vector(text: str, where: str) -> np.ndarray:
    """(14,) float32 of one label string, e.g. "Effusion|Mass"; `where` begins the error message."""
    if text == "":
        raise InputError(f"{where} has no {_FINDINGS}; write {NO_FINDING!r} or findings joined by '|'")
    findings = [finding.strip() for finding in text.split("|")]
    for finding in findings:
        if finding not in LABELS and finding != NO_FINDING:
            raise InputError(f"{where} has the unknown label {finding!r}; known are {', '.join(LABELS)}, {NO_FINDING}")
    if NO_FINDING in findings and len(findings) > 1:
        raise InputError(f"{where} has {text!r}, both {NO_FINDING!r} and a finding; keep one of the two")
    return np.isin(LABELS, findings).astype(np.float32)


def _check_any_finding(source: Path, targets: np.ndarray) -> None:
    if not targets.any():
        raise InputError(f"{source}: no image has any of the {len(LABELS)} findings; use a table with findings")


def _official(folder: Path, ids: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(N,) "train" or "test" from the official lists, or None, with a note if only one of them exists."""
    found = {part: find_one(folder, name) for part, name in _LISTS.items()}
    paths = {part: path for part, path in found.items() if path is not None}
    if not paths:
        return None, ()
    if len(paths) < len(_LISTS):
        (present,) = paths.values()
        absent = next(name for part, name in _LISTS.items() if part not in paths)
        return None, (f"{folder}: {present.name} exists but {absent} does not; the official split is not used",)
    names = {part: [line.strip() for line in read_text(path).splitlines()] for part, path in paths.items()}
    train, test = (np.isin(ids, names[part]) for part in ("train", "test"))
    lists = f"{paths['train']} and {paths['test'].name}"
    if (train & test).any():
        raise InputError(f"{lists}: {ids[train & test][0]} is on both; remove it from one")
    if (neither := ~(train | test)).any():
        raise InputError(
            f"{lists}: {ids[neither][0]} is on neither ({neither.sum()} such images); add it or remove both"
        )
    shared = np.intersect1d(patients[train], patients[test])
    if len(shared):
        raise InputError(f"{lists}: patient {shared[0]} is on both ({len(shared)} such patients); use NIH's own lists")
    return np.where(train, "train", "test"), ()
