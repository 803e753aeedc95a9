"""The maps that the signs of the chest phantom are drawn into."""

from dataclasses import dataclass

import numpy as np

from xlite.data.phantom.chest_anatomy import LEFT, RIGHT, Anatomy
from xlite.data.phantom.chest_canvas import Canvas


@dataclass
class Scene:
    """The state of a drawing; all maps are (px, px) float32 on `canvas`.

    Attributes:
        anatomy: of this image, already reshaped.
        lungs: mask of each lung by side.
        water: share of the lung's air replaced by tissue or fluid, 0 to 1.
        markings, air: factors on the vessels and on the lungs' darkness.
        density: added to everything.
    """

    canvas: Canvas
    anatomy: Anatomy
    lungs: dict[int, np.ndarray]
    water: np.ndarray
    markings: np.ndarray
    air: np.ndarray
    density: np.ndarray

    def opacify(self, amount: np.ndarray) -> None:
        """Replace the share `amount` (0 to 1) of the remaining air."""
        self.water += amount * (1 - self.water)


def either_side(rng: np.random.Generator) -> int:
    """RIGHT or LEFT, with equal probability."""
    return LEFT if rng.random() < 0.5 else RIGHT


def blob(canvas: Canvas, centre: tuple[float, float], radii: tuple[float, float], rough: np.ndarray) -> np.ndarray:
    """Fuzzy coarse patch: 1 inside, falling over about a third of the radius, its border displaced by `rough`."""
    x, y = canvas.grid
    distance = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2)
    return np.clip((1.15 - distance + 0.22 * rough) / 0.45, 0, 1)
