"""Where each finding of a chest phantom is drawn: the picture against the same picture without it."""

from dataclasses import replace

import numpy as np

from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import Picture

LEAST_CHANGE = 0.25
"""Share of a finding's greatest change of the grey level, from which on a pixel belongs to it."""


def drawn_place(picture: Picture, finding: str, *, seed: int, image_px: int) -> np.ndarray:
    """(image_px, image_px) bool: the pixels that this finding changes most; arguments as of `draw_chest`.

    Exact, since everything else is drawn from random streams of its own and stays as it is.
    """
    without = replace(picture, severities={k: v for k, v in picture.severities.items() if k != finding})
    one, other = (draw_chest(each, seed=seed, image_px=image_px).astype(np.int16) for each in (picture, without))
    change = np.abs(one - other)
    return change >= max(1.0, LEAST_CHANGE * change.max())
