"""The findings of the chest phantom that change the anatomy before it is drawn."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from xlite.data.phantom.chest_anatomy import RIGHT, Anatomy
from xlite.data.phantom.chest_scene import either_side


def _raise_dome(anatomy: Anatomy, side: int, by: float) -> Anatomy:
    right, left = anatomy.dome_y
    return replace(anatomy, dome_y=(right - by, left) if side == RIGHT else (right, left - by))


def _lose_volume(anatomy: Anatomy, place: np.random.Generator, severity: float) -> Anatomy:
    return _raise_dome(anatomy, either_side(place), 0.012 + 0.06 * severity)


def _widen_heart(anatomy: Anatomy, place: np.random.Generator, severity: float) -> Anatomy:
    right, left = anatomy.heart
    factor = 1.14 + 0.48 * severity + 0.04 * place.random()
    return replace(anatomy, heart=(right * factor, min(left * factor, 0.30)), heart_top_y=anatomy.heart_top_y - 0.015)


def _overinflate(anatomy: Anatomy, place: np.random.Generator, severity: float) -> Anatomy:
    right, left = anatomy.dome_y
    down = 0.02 + 0.07 * severity
    heart_right, heart_left = anatomy.heart
    return replace(
        anatomy,
        dome_y=(right + down, left + down),
        dome_depth=anatomy.dome_depth * (0.75 - 0.4 * severity),
        heart=(heart_right * (0.93 - 0.1 * severity), heart_left * (0.92 - 0.15 * severity - 0.03 * place.random())),
        air=anatomy.air * (1.05 + 0.14 * severity),
        markings=anatomy.markings * (0.9 - 0.35 * severity),
    )


RESHAPE: dict[str, Callable[[Anatomy, np.random.Generator, float], Anatomy]] = {
    "Atelectasis": _lose_volume,
    "Cardiomegaly": _widen_heart,
    "Emphysema": _overinflate,
}
