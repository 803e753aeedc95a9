"""A disc level in RSNA's layout: its point in a series, the stack of slices around that, the crop. Without pandas."""

import json
import os
from pathlib import Path

import numpy as np

from xlite.data.dicom import read_instance_number
from xlite.data.unreadable import UnreadableImage

LEVELS: tuple[str, ...] = ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1")
LEVEL_KEYS = tuple(level.lower().replace("/", "_") for level in LEVELS)
"""Of ids and columns, e.g. "l1_l2"."""
CONDITION = "Spinal Canal Stenosis"
SERIES = "Sagittal T2/STIR"
IMAGES, POINTS, SERIES_TABLE = "train_images", "train_label_coordinates.csv", "train_series_descriptions.csv"
POINT_COLUMNS = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
CROP_SHARE = 0.75
"""Half the side of the crop, as a share of the distance between neighbouring levels."""

_DEFAULT_RADIUS_PX = 30.0  # if no study has two neighbouring points: 0.75 of 40 px, typical of RSNA's series


def crop_radii(series: np.ndarray, level: np.ndarray, xy: np.ndarray, *, fallback: float | None = None) -> np.ndarray:
    """(P,) the crop radius of each point, pixels: CROP_SHARE of the mean distance to the levels above and below.

    A point with neither in its series gets `fallback`.

    Args:
        series: (P,) whole numbers from 0, one for each series.
        level: (P,) from 0 (L1/L2) to 4 (L5/S1), each once in a series.
        xy: (P, 2) the points, pixels.
        fallback: None: the median radius of all points.
    """
    places = np.full((series.max() + 1, len(LEVELS) + 2, 2), np.nan)  # NaN above the first level, below the last
    places[series, level + 1] = xy
    distances = np.linalg.norm(np.diff(places, axis=1), axis=2)
    distances[~(distances > 0)] = np.nan  # two levels at the same point give no distance
    neighbours = np.stack([distances[series, level], distances[series, level + 1]])
    count = np.isfinite(neighbours).sum(axis=0)
    radii = CROP_SHARE * np.where(np.isfinite(neighbours), neighbours, 0).sum(axis=0) / np.maximum(count, 1)
    if fallback is None:
        fallback = float(np.median(radii[count > 0])) if (count > 0).any() else _DEFAULT_RADIUS_PX
    return np.where(count > 0, radii, fallback)


def crop_detail(crop: np.ndarray) -> str:
    """An item's detail of x, y and radius (3,), see `SlicePreprocess`."""
    x, y, radius = crop.round(3).tolist()
    return json.dumps({"x": x, "y": y, "radius": radius})


def find_slices(folder: Path) -> dict[int, Path]:
    """Instance number -> file of a series; the number is taken from the file's name, or else from its header."""
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
            number = read_instance_number(path)
        except UnreadableImage:
            return None
    return number if number is not None and abs(number) < 2**31 else None


def stack_around(slices: dict[int, Path], instance: int, num_slices: int) -> tuple[Path, ...] | None:
    """The stack of slices around `instance`, a missing one replaced by the nearest; None if all of them are missing."""
    wanted = np.arange(num_slices) + instance - num_slices // 2
    present = np.array(sorted(slices), dtype=np.int64)
    if not np.isin(wanted, present).any():
        return None
    nearest = present[np.abs(present[None, :] - wanted[:, None]).argmin(axis=1)]
    return tuple(slices[number] for number in nearest.tolist())
