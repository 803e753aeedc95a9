"""RSNA 2024 Lumbar Spine as distributed, three tables and DICOM series: spinal canal stenosis, a grade per level."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.levels import (
    CONDITION,
    LEVEL_KEYS,
    LEVELS,
    POINT_COLUMNS,
    POINTS,
    SERIES,
    SERIES_TABLE,
    crop_detail,
    crop_radii,
    find_slices,
    stack_around,
)
from xlite.data.sources import ParsedDataset
from xlite.data.sources.listing import check_missing, first_row, read_table
from xlite.data.sources.walk import check_folder
from xlite.data.table import Item, Table
from xlite.errors import InputError

LABELS: tuple[str, ...] = ("Normal/Mild", "Moderate", "Severe")
NUM_SLICES = 7
_GRADES = "train.csv"
_GRADE_COLUMNS = tuple(f"spinal_canal_stenosis_{key}" for key in LEVEL_KEYS)
_TABLES = "RSNA's tables"


@dataclass(frozen=True)
class Grades:
    """The content of the tables, one row for each graded level with a usable point.

    Attributes:
        ids: (N,) "<study>_<level>", e.g. "4003253_l1_l2".
        studies, series: (N,) study ids and series ids, as text.
        levels: (N,) int64, 0 (L1/L2) to 4 (L5/S1).
        grades: (N,) int64, indices into LABELS.
        instances: (N,) int64 instance number of the slice with the point.
        crops: (N, 3) float64 x, y and radius of the crop in pixels of that slice.
        excluded: id -> reason, for graded levels without a usable point.
        notes: lines to show to the user.
    """

    ids: np.ndarray
    studies: np.ndarray
    series: np.ndarray
    levels: np.ndarray
    grades: np.ndarray
    instances: np.ndarray
    crops: np.ndarray
    excluded: Mapping[str, str]
    notes: tuple[str, ...]


def read_rsna(folder: Path, *, allow_missing: bool = False, num_slices: int = NUM_SLICES) -> ParsedDataset:
    """Read a folder in RSNA's layout: one row per study and level, groups are studies, auxiliary (N, 1) is the level.

    An item is `num_slices` neighbouring slices around the one with the level's point; a slice that is missing, or lies
    beyond the end of the series, is replaced by the nearest one. Slices lie in
    train_images/<study>/<series>/<instance>.dcm.

    Raises:
        InputError: as `read_grades`; no image at all; more than 1% of the levels without images and no
            `allow_missing`.
    """
    grades = read_grades(folder)
    images = folder / "train_images"
    slices_of: dict[tuple[str, str], dict[int, Path]] = {}
    items: list[Item] = []
    kept: list[int] = []
    missing: list[str] = []
    for row, (study, series) in enumerate(zip(grades.studies.tolist(), grades.series.tolist(), strict=True)):
        if (study, series) not in slices_of:
            slices_of[study, series] = find_slices(images / study / series)
        paths = stack_around(slices_of[study, series], int(grades.instances[row]), num_slices)
        if paths is None:
            missing.append(str(grades.ids[row]))
            continue
        items.append(Item(paths, crop_detail(grades.crops[row])))
        kept.append(row)
    fix = "unpack RSNA's archive so that slices lie in train_images/<study>/<series>/"
    check_missing(folder, missing, len(grades.ids), what="levels' slices", fix=fix, allow_missing=allow_missing)
    table = Table(
        ids=grades.ids[kept],
        items=tuple(items),
        groups=grades.studies[kept],
        targets=np.eye(len(LABELS), dtype=np.float32)[grades.grades[kept]],
        labels=LABELS,
        auxiliary=grades.levels[kept, None],
    )
    return ParsedDataset(table, tuple(missing), grades.notes, kind="ordinal", channels=3, excluded=grades.excluded)


def read_grades(folder: Path) -> Grades:
    """Read the tables only, whether or not the images exist.

    The crop's radius is CROP_SHARE of the mean distance to the points of the levels above and below in the same series;
    a level with neither gets the median radius of the table.

    Raises:
        InputError: no folder, a missing table or column, a table without rows; an unknown grade or level; an invalid
            number; a repeated study, series or point of a level; no graded level with a point.
    """
    check_folder(folder)
    notes: list[str] = []
    graded = _read_grade_rows(folder, notes)
    points = _read_points(folder)
    numbers = points.groupby(["study_id", "series_id"], sort=False).ngroup().to_numpy()
    points["radius"] = crop_radii(numbers, points["level"].to_numpy(), points[["x", "y"]].to_numpy())
    rows = graded.merge(points, on=["study_id", "level"], how="left", validate="one_to_one")
    without = rows["x"].isna()
    elsewhere = rows["description"].notna() & (rows["description"] != SERIES)
    unknown = ~without & rows["description"].isna()
    series = rows["series_id"].fillna("").astype(object)  # its type is not text if no row has a point
    reasons = np.select(
        [without, elsewhere, unknown],
        [
            f"no {CONDITION} point in {POINTS}",
            "its point is in series "
            + series
            + ", "
            + rows["description"].fillna("").astype(object)
            + f" and not {SERIES}",
            "its series " + series + f" is not in {SERIES_TABLE}",
        ],
        default="",
    )
    excluded = {str(name): str(reason) for name, reason in zip(rows["id"], reasons, strict=True) if reason}
    rows = rows[~(without | elsewhere | unknown)]
    if rows.empty:
        raise InputError(f"{folder}: no graded level has a {CONDITION} point in a {SERIES} series; use RSNA's tables")
    return Grades(
        ids=rows["id"].to_numpy(str),
        studies=rows["study_id"].to_numpy(str),
        series=rows["series_id"].to_numpy(str),
        levels=rows["level"].to_numpy(np.int64),
        grades=rows["grade"].to_numpy(np.int64),
        instances=rows["instance_number"].to_numpy(np.int64),
        crops=rows[["x", "y", "radius"]].to_numpy(np.float64),
        excluded=excluded,
        notes=tuple(notes),
    )


def _read_grade_rows(folder: Path, notes: list[str]) -> pd.DataFrame:
    """Columns id, study_id, level and grade (both int), by study and then level, without ungraded levels."""
    path, wide = read_table(folder, _GRADES, ("study_id", *_GRADE_COLUMNS), what=_TABLES)
    _check_names(path, wide, ("study_id",))
    _check_once(path, wide, ("study_id",))
    texts = wide[list(_GRADE_COLUMNS)].to_numpy(str)
    known = np.array([*LABELS, ""])
    if (bad := ~np.isin(texts, known)).any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{path} row {wide.index[row]}: {_GRADE_COLUMNS[column]} is {str(texts[row, column])!r}; "
            f"known are {', '.join(LABELS)}, or leave it empty"
        )
    study, level = np.nonzero(texts != "")
    if num_empty := texts.size - len(study):
        notes.append(f"{path}: {num_empty} levels have no grade; they are left out")
    studies = wide["study_id"].to_numpy(str)[study]
    grade = np.select([texts[study, level] == label for label in LABELS], list(range(len(LABELS))))
    ids = [f"{name}_{LEVEL_KEYS[k]}" for name, k in zip(studies.tolist(), level.tolist(), strict=True)]
    return pd.DataFrame({"id": ids, "study_id": studies, "level": level, "grade": grade})


def _read_points(folder: Path) -> pd.DataFrame:
    """One row per study and level: study_id, series_id, instance_number, level (int), x, y, description.

    `description` is NaN if the series is not in the series table.
    """
    path, points = read_table(folder, POINTS, POINT_COLUMNS, what=_TABLES)
    points = points[points["condition"] == CONDITION].drop(columns="condition")
    if points.empty:
        raise InputError(f"{path}: no row has the condition {CONDITION!r}; download RSNA's tables again")
    _check_names(path, points, ("study_id", "series_id"))
    if (unknown := ~points["level"].isin(LEVELS)).any():
        row = points[unknown].iloc[0]
        raise InputError(f"{path} row {row.name}: unknown level {row.level!r}; known are {', '.join(LEVELS)}")
    for name in ("instance_number", "x", "y"):
        points[name] = _numbers(path, points[name], whole=name == "instance_number")
    series_path, series = read_table(
        folder, SERIES_TABLE, ("study_id", "series_id", "series_description"), what=_TABLES
    )
    _check_once(series_path, series, ("study_id", "series_id"))
    keys = pd.MultiIndex.from_frame(points[["study_id", "series_id"]])
    described = series.set_index(["study_id", "series_id"])["series_description"]
    points["description"] = described.reindex(keys).to_numpy()
    points["level"] = points["level"].map({level: k for k, level in enumerate(LEVELS)}).astype(np.int64)
    _check_once(path, points, ("study_id", "level"))
    return points


def _numbers(path: Path, texts: "pd.Series[str]", *, whole: bool) -> np.ndarray:
    """(R,) int64 if `whole`, else float64."""
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(numbers) | (np.abs(numbers) >= 2**31)
    if whole:
        bad |= np.where(bad, 0, numbers) % 1 != 0
    if bad.any():
        row = int(bad.argmax())
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{path} row {texts.index[row]}: {texts.name} is {texts.iloc[row]!r}; write {kind}")
    return numbers.astype(np.int64) if whole else numbers


def _check_names(path: Path, rows: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Check that ids, which are folder names too, are numbers as in RSNA's tables."""
    for name in columns:
        if (row := first_row(rows, ~rows[name].str.fullmatch("[0-9]+"))) is not None:
            raise InputError(f"{path} row {row}: {name} is {rows[name][row]!r}; write digits")


def _check_once(path: Path, rows: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Check that no two rows are equal in `columns`."""
    keys = rows[list(columns)]
    repeated = keys.duplicated().to_numpy()
    if not repeated.any():
        return
    second = int(repeated.argmax())
    values = keys.iloc[second].tolist()
    first = int((keys.to_numpy() == keys.to_numpy()[second]).all(axis=1).argmax())
    if columns[-1] == "level":
        values[-1] = LEVELS[values[-1]]
    key = ", ".join(f"{name} {value}" for name, value in zip(columns, values, strict=True))
    raise InputError(
        f"{path} row {rows.index[second]}: {key} is in row {rows.index[first]} already; keep one of the two"
    )
