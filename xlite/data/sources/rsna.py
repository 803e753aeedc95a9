"""RSNA 2024 Lumbar Spine as distributed, three tables and DICOM series: spinal canal stenosis, graded by level."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xlite.data.dicom import read_header
from xlite.data.sources import ParsedDataset
from xlite.data.sources.listing import check_folder, find_one, read_columns
from xlite.data.table import Item, Table
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError

LABELS: tuple[str, ...] = ("Normal/Mild", "Moderate", "Severe")
LEVELS: tuple[str, ...] = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")
CONDITION = "Spinal Canal Stenosis"
SERIES = "Sagittal T2/STIR"
NUM_SLICES = 7
CROP_SHARE = 0.75
"""Half the side of the crop, in distances between neighbouring levels."""
MAX_MISSING = 0.01

_LAST_RADIUS_PX = 30.0  # where no study has two neighbouring points: 0.75 of 40 px, usual in RSNA's series
_LEVEL_KEYS = tuple(level.lower().replace("/", "_") for level in LEVELS)
_GRADES, _POINTS, _SERIES = "train.csv", "train_label_coordinates.csv", "train_series_descriptions.csv"
_GRADE_COLUMNS = tuple(f"spinal_canal_stenosis_{key}" for key in _LEVEL_KEYS)
_POINT_COLUMNS = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")


@dataclass(frozen=True)
class Grades:
    """What the tables say, one row for each graded level with a usable point.

    Attributes:
        ids: (N,) "<study>_<level>", e.g. "4003253_l1_l2".
        studies: (N,) study ids; series: (N,) series ids; both as text.
        levels: (N,) int64, 0 (L1/L2) to 4 (L5/S1).
        grades: (N,) int64, positions in LABELS.
        instances: (N,) int64 instance number of the slice with the point.
        places: (N, 3) float64 x, y and radius of the crop in pixels of that slice.
        excluded: id -> reason, for graded levels without a usable point.
        notes: lines worth showing to a person.
    """

    ids: np.ndarray
    studies: np.ndarray
    series: np.ndarray
    levels: np.ndarray
    grades: np.ndarray
    instances: np.ndarray
    places: np.ndarray
    excluded: Mapping[str, str]
    notes: tuple[str, ...]


def read_rsna(folder: Path, *, allow_missing: bool = False, num_slices: int = NUM_SLICES) -> ParsedDataset:
    """Read a folder in RSNA's layout: one row for each study and level, groups are studies, extras (N, 1) the level.

    An item is `num_slices` neighbouring slices about the one with the level's point; where one is not there, or the
    series ends, the nearest that is stands in for it. Slices lie in train_images/<study>/<series>/<instance>.dcm.

    Raises:
        InputError: as `read_grades`; no image at all; more than 1% of the levels without images and not
            `allow_missing`.
    """
    grades = read_grades(folder)
    images = folder / "train_images"
    listed: dict[str, dict[int, Path]] = {}
    items: list[Item] = []
    kept: list[int] = []
    missing: list[str] = []
    for row, (study, series) in enumerate(zip(grades.studies.tolist(), grades.series.tolist(), strict=True)):
        place = f"{study}/{series}"
        if place not in listed:
            listed[place] = _find_slices(images / study / series)
        paths = _neighbours(listed[place], int(grades.instances[row]), num_slices)
        if paths is None:
            missing.append(str(grades.ids[row]))
            continue
        x, y, radius = grades.places[row].round(3).tolist()
        items.append(Item(paths, json.dumps({"x": x, "y": y, "radius": radius})))
        kept.append(row)
    _check_missing(folder, missing, len(grades.ids), allow_missing)
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
    """The tables alone, images or not.

    The crop's radius is CROP_SHARE of the mean distance to the points of the level above and below in the same
    series; a level with neither takes the median radius of the table.

    Raises:
        InputError: no folder, a table or column missing, a table without rows; an unknown grade or level; a number
            that is none; a study, a series or a level's point given twice; no graded level with a point.
    """
    check_folder(folder)
    notes: list[str] = []
    graded = _read_grade_rows(folder, notes)
    points = _read_points(folder)
    points["radius"] = _radii(points)
    rows = graded.merge(points, on=["study_id", "level"], how="left", validate="one_to_one")
    without = rows["x"].isna()
    elsewhere = rows["description"].notna() & (rows["description"] != SERIES)
    unknown = ~without & rows["description"].isna()
    series = rows["series_id"].fillna("").astype(object)  # where no row has a point its type is not text
    reasons = np.select(
        [without, elsewhere, unknown],
        [
            f"no {CONDITION} point in {_POINTS}",
            "its point is in series "
            + series
            + ", "
            + rows["description"].fillna("").astype(object)
            + f" and not {SERIES}",
            "its series " + series + f" is not in {_SERIES}",
        ],
        default="",
    )
    excluded = {str(name): str(reason) for name, reason in zip(rows["id"], reasons, strict=True) if reason}
    rows = rows[~(without | elsewhere | unknown)]
    if rows.empty:
        raise InputError(f"{folder}: no graded level has a {CONDITION} point in a {SERIES} series; fetch RSNA's tables")
    return Grades(
        ids=rows["id"].to_numpy(str),
        studies=rows["study_id"].to_numpy(str),
        series=rows["series_id"].to_numpy(str),
        levels=rows["level"].to_numpy(np.int64),
        grades=rows["grade"].to_numpy(np.int64),
        instances=rows["instance_number"].to_numpy(np.int64),
        places=rows[["x", "y", "radius"]].to_numpy(np.float64),
        excluded=excluded,
        notes=tuple(notes),
    )


def _read_table(folder: Path, name: str, columns: tuple[str, ...]) -> tuple[Path, pd.DataFrame]:
    path = find_one(folder, name)
    if path is None:
        raise InputError(f"{folder}: no {name} or {name}.gz; put RSNA's tables there")
    rows = read_columns(path, columns)
    if rows.empty:
        raise InputError(f"{path}: no rows; fetch RSNA's tables again")
    return path, rows


def _read_grade_rows(folder: Path, notes: list[str]) -> pd.DataFrame:
    """Columns id, study_id, level and grade (both int), by study and then level; levels without a grade left out."""
    path, wide = _read_table(folder, _GRADES, ("study_id", *_GRADE_COLUMNS))
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
    ids = [f"{name}_{_LEVEL_KEYS[k]}" for name, k in zip(studies.tolist(), level.tolist(), strict=True)]
    return pd.DataFrame({"id": ids, "study_id": studies, "level": level, "grade": grade})


def _read_points(folder: Path) -> pd.DataFrame:
    """One row for each study and level: study_id, series_id, instance_number, level (int), x, y, description.

    `description` is NaN where the series is not described.
    """
    path, points = _read_table(folder, _POINTS, _POINT_COLUMNS)
    points = points[points["condition"] == CONDITION].drop(columns="condition")
    if points.empty:
        raise InputError(f"{path}: no row has the condition {CONDITION!r}; fetch RSNA's tables again")
    _check_names(path, points, ("study_id", "series_id"))
    if (unknown := ~points["level"].isin(LEVELS)).any():
        row = points[unknown].iloc[0]
        raise InputError(f"{path} row {row.name}: unknown level {row.level!r}; known are {', '.join(LEVELS)}")
    for name in ("instance_number", "x", "y"):
        points[name] = _numbers(path, points[name], whole=name == "instance_number")
    series_path, series = _read_table(folder, _SERIES, ("study_id", "series_id", "series_description"))
    _check_once(series_path, series, ("study_id", "series_id"))
    keys = pd.MultiIndex.from_frame(points[["study_id", "series_id"]])
    described = series.set_index(["study_id", "series_id"])["series_description"]
    points["description"] = described.reindex(keys).to_numpy()
    points["level"] = points["level"].map({level: k for k, level in enumerate(LEVELS)}).astype(np.int64)
    _check_once(path, points, ("study_id", "level"))
    return points


def _numbers(path: Path, texts: "pd.Series[str]", *, whole: bool) -> np.ndarray:
    """(R,) int64 where `whole`, else float64."""
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
    """Ids are folders' names: numbers, as RSNA writes them."""
    for name in columns:
        wrong = ~rows[name].str.fullmatch("[0-9]+").to_numpy(bool)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(f"{path} row {rows.index[row]}: {name} is {rows[name].iloc[row]!r}; write digits")


def _check_once(path: Path, rows: pd.DataFrame, columns: tuple[str, ...]) -> None:
    keys = rows[list(columns)]
    again = keys.duplicated().to_numpy()
    if not again.any():
        return
    second = int(again.argmax())
    values = keys.iloc[second].tolist()
    first = int((keys.to_numpy() == keys.to_numpy()[second]).all(axis=1).argmax())
    if columns[-1] == "level":
        values[-1] = LEVELS[values[-1]]
    said = ", ".join(f"{name} {value}" for name, value in zip(columns, values, strict=True))
    raise InputError(
        f"{path} row {rows.index[second]}: {said} stands in row {rows.index[first]} already; keep one of the two"
    )


def _radii(points: pd.DataFrame) -> np.ndarray:
    """(P,) the crop radius of each point, pixels; see `read_grades`."""
    place = points.groupby(["study_id", "series_id"], sort=False).ngroup().to_numpy()
    level = points["level"].to_numpy()
    spots = np.full((place.max() + 1, len(LEVELS) + 2, 2), np.nan)  # a NaN level above the first and below the last
    spots[place, level + 1] = points[["x", "y"]].to_numpy()
    steps = np.linalg.norm(np.diff(spots, axis=1), axis=2)
    steps[~(steps > 0)] = np.nan  # two levels in one point tell no distance
    near = np.stack([steps[place, level], steps[place, level + 1]])
    count = np.isfinite(near).sum(axis=0)
    radii = CROP_SHARE * np.where(np.isfinite(near), near, 0).sum(axis=0) / np.maximum(count, 1)
    fallback = float(np.median(radii[count > 0])) if (count > 0).any() else _LAST_RADIUS_PX
    return np.where(count > 0, radii, fallback)


def _find_slices(folder: Path) -> dict[int, Path]:
    """Instance number -> file; the number is the file's name, or else what its header says."""
    if not folder.is_dir():
        return {}
    slices: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".dcm"))
    for name in names:
        number = _instance_number(folder / name)
        if number is not None:
            slices.setdefault(number, folder / name)
    return slices


def _instance_number(path: Path) -> int | None:
    if path.stem.isascii() and path.stem.isdigit():
        number: int | None = int(path.stem)
    else:
        try:
            number = read_header(path).instance_number
        except UnreadableImage:
            return None
    return number if number is not None and abs(number) < 2**31 else None


def _neighbours(slices: dict[int, Path], instance: int, num_slices: int) -> tuple[Path, ...] | None:
    """The stack about `instance`; None where none of its slices is there."""
    wanted = np.arange(num_slices) + instance - num_slices // 2
    present = np.array(sorted(slices), dtype=np.int64)
    if not np.isin(wanted, present).any():
        return None
    nearest = present[np.abs(present[None, :] - wanted[:, None]).argmin(axis=1)]
    return tuple(slices[number] for number in nearest.tolist())


def _check_missing(folder: Path, missing: list[str], num_rows: int, allow_missing: bool) -> None:
    if len(missing) == num_rows:
        raise InputError(
            f"{folder}: none of the {num_rows} graded levels has slices in train_images/<study>/<series>/, "
            f"e.g. {missing[0]}; unpack RSNA's archive there"
        )
    if len(missing) > MAX_MISSING * num_rows and not allow_missing:
        raise InputError(
            f"{folder}: {len(missing)} of {num_rows} graded levels ({len(missing) / num_rows:.1%}) have no slices, "
            f"e.g. {missing[0]}; fetch them or pass --allow-missing"
        )
