"""The levels of RSNA's lumbar studies to predict: a table says where each is. Read without pandas, without grades."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.data.levels import (
    CONDITION,
    IMAGES,
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
from xlite.data.sources.csv_text import csv_columns
from xlite.data.table import Item
from xlite.errors import InputError


@dataclass(frozen=True)
class Level:
    """One level of one study: `id` as in training, "<study>_<level>"; `problem`: why it has no slices, or ""."""

    id: str
    level: int
    item: Item
    problem: str = ""


def find_levels(place: Path, num_slices: int) -> Iterator[Level]:
    """The levels that have a point, in the order of study and level.

    Args:
        place: a folder in RSNA's layout, or a study or series in it, whose levels alone are then given.
        num_slices: of a stack.

    Raises:
        InputError: no table of coordinates, or one that lacks a column or holds something else than numbers.
    """
    table = next((file for folder in (place, *place.resolve().parents[:3]) for file in _tables(folder, POINTS)), None)
    if table is None:
        raise InputError(
            f"{place}: no {POINTS} there: this model looks at one disc level at a time and must be told where each is. "
            f"Give a folder in RSNA's layout: slices in {IMAGES}/<study>/<series>/<instance>.dcm, and {POINTS} with "
            f"the columns {', '.join(POINT_COLUMNS)}: a row for each level, its condition {CONDITION!r}"
        )
    points = _points(table)
    root, within = table.parent.resolve(), place.resolve()
    series = {name: number for number, name in enumerate(dict.fromkeys(point.series for point in points))}
    radii = crop_radii(
        np.array([series[point.series] for point in points]),
        np.array([point.level for point in points]),
        np.array([point.xy for point in points]),
        fallback=math.nan,  # training's median is not known here, and that of these points is another
    )
    slices: dict[tuple[str, str], dict[int, Path]] = {}
    for point, radius in sorted(zip(points, radii.tolist(), strict=True), key=lambda pair: pair[0].order):
        folder = root / IMAGES / point.series[0] / point.series[1]
        if not (folder.is_relative_to(within) or within.is_relative_to(folder)):
            continue
        if point.series not in slices:
            slices = {point.series: find_slices(folder)}  # of one series at a time
        stack = stack_around(slices[point.series], point.instance, num_slices) if slices[point.series] else None
        detail = crop_detail(np.array([*point.xy, radius]))
        problem = ""
        if not stack:
            problem = f"no slices around instance {point.instance} in {IMAGES}/{'/'.join(point.series)}"
        elif math.isnan(radius):
            problem = (
                f"no point of a level above or below in its series, whose distance sets the crop; add it to {POINTS}"
            )
        name = f"{point.series[0]}_{LEVEL_KEYS[point.level]}"
        yield Level(name, point.level, Item(stack or (folder,), detail), problem)


@dataclass(frozen=True)
class _Point:
    """A row of the table: (study, series), the level's number, the slice's, and the place in it."""

    series: tuple[str, str]
    level: int
    instance: int
    xy: tuple[float, float]

    @property
    def order(self) -> tuple[int, str, int]:
        """Studies are numbers of any length."""
        return len(self.series[0]), self.series[0], self.level


def _points(table: Path) -> list[_Point]:
    """The points of the condition in sagittal T2 series, one a study and level."""
    elsewhere = _other_series(table.parent)
    points: dict[tuple[str, int], _Point] = {}
    for number, cells in csv_columns(table, POINT_COLUMNS):
        row = dict(zip(POINT_COLUMNS, cells, strict=True))
        series = (row["study_id"], row["series_id"])
        if row["condition"] != CONDITION or series in elsewhere:
            continue
        where = f"{table} row {number}"
        if row["level"] not in LEVELS:
            raise InputError(f"{where}: unknown level {row['level']!r}; known are {', '.join(LEVELS)}")
        if not all(name.isascii() and name.isdigit() for name in series):
            raise InputError(f"{where}: study_id and series_id are {' and '.join(map(repr, series))}; write digits")
        instance, x, y = (_number(where, name, row[name]) for name in ("instance_number", "x", "y"))
        key = (series[0], LEVELS.index(row["level"]))
        if key in points:
            raise InputError(f"{where}: study {series[0]} has a point for {row['level']} already; keep one of the two")
        points[key] = _Point(series, key[1], int(instance), (x, y))
    if not points:
        raise InputError(
            f"{table}: no row has the condition {CONDITION!r} in a {SERIES} series; add the levels' points"
        )
    return list(points.values())


def _other_series(folder: Path) -> set[tuple[str, str]]:
    """(study, series) that the table of series, where there is one, describes as other than sagittal T2."""
    for table in _tables(folder, SERIES_TABLE):
        rows = (cells for _, cells in csv_columns(table, ("study_id", "series_id", "series_description")))
        return {(study, series) for study, series, description in rows if description != SERIES}
    return set()


def _tables(folder: Path, name: str) -> list[Path]:
    return [file for end in ("", ".gz") if (file := folder / (name + end)).is_file()]


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 2**31 or (name == "instance_number" and value % 1):
        raise InputError(f"{where}: {name} is {text!r}; write a number")
    return value
