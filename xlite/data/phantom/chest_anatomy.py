"""The anatomy of a chest phantom patient, which is the same at every follow-up, and its outlines."""

from dataclasses import dataclass

import numpy as np

from xlite.data.phantom.chest_canvas import Stroke, ellipse_outline, smooth_outline

RIGHT, LEFT = -1, 1  # the patient's sides; the patient's right is on the picture's left
_LATERAL_KNOTS = np.array([0.0, 0.03, 0.1, 0.22, 0.4, 0.65, 1.0])
_LATERAL_WIDTH = np.array([0.36, 0.47, 0.61, 0.76, 0.89, 0.97, 1.0])
_SHOOT = np.linspace(0, 1, 4)[:, None]
_MEDIAL_X = 0.035  # medial end of a lung, behind the mediastinum


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest in body coordinates (see chest_canvas); lengths in image widths.

    Attributes:
        lung_width: from spine to the lateral chest wall at the base.
        apex_y: top of the lungs.
        dome_y: top of the right and left hemidiaphragm.
        dome_depth: distance of the costophrenic angles below the domes.
        heart: extents to the patient's right and left.
        heart_top_y, knob: upper end of the heart's outline, radius of the aortic knob.
        mediastinum: half width of the mediastinum.
        spine_bend: sideways bow of the spine.
        rib_spacing, rib_drop, rib_width: of the posterior ribs.
        clavicle_drop: distance of the clavicles' inner ends below the outer ends.
        torso, flesh: half width of the trunk, and its density in [0, 1].
        breast: size of the breasts.
        air, markings: darkness of the lungs, strength of the vessels.
        bubble: radius of the gastric air bubble, 0 for none.
    """

    lung_width: float
    apex_y: float
    dome_y: tuple[float, float]
    dome_depth: float
    heart: tuple[float, float]
    heart_top_y: float
    knob: float
    mediastinum: float
    spine_bend: float
    rib_spacing: float
    rib_drop: float
    rib_width: float
    clavicle_drop: float
    torso: float
    flesh: float
    breast: float
    air: float
    markings: float
    bubble: float

    def dome(self, side: int) -> float:
        """Top of the hemidiaphragm of `side` (y)."""
        return self.dome_y[0 if side == RIGHT else 1]

    def lateral_x(self, depth: np.ndarray | float) -> np.ndarray:
        """Distance of the lateral lung border from the spine at `depth` in [0, 1] from apex to costophrenic angle."""
        return self.lung_width * np.interp(depth, _LATERAL_KNOTS, _LATERAL_WIDTH)

    def lung_point(self, side: int, across: float, depth: float) -> tuple[float, float]:
        """A point in a lung: `across` 0 (medial) to 1 (lateral), `depth` 0 (apex) to 1 (dome)."""
        y = self.apex_y + depth * (self.dome(side) - self.apex_y)
        lateral = float(self.lateral_x(depth * 0.9))
        return side * (_MEDIAL_X + across * (lateral - _MEDIAL_X)), y

    def hilum(self, side: int) -> tuple[float, float]:
        """Where the vessels of a lung leave the mediastinum; slightly higher on the left."""
        return side * (self.mediastinum + 0.03), 0.40 if side == RIGHT else 0.385

    def lung_outline(self, side: int) -> np.ndarray:
        """(K, 2) closed outline of a lung, its air in front of the diaphragm's dome."""
        angle_y = self.dome(side) + self.dome_depth
        depth = np.linspace(0, 1, 16)
        lateral = np.stack([self.lateral_x(depth), self.apex_y + depth * (angle_y - self.apex_y)], 1)
        x = np.linspace(self.lung_width * 0.985, _MEDIAL_X, 12)
        top_x = 0.45 * self.lung_width
        reach = np.where(x > top_x, (x - top_x) / (self.lung_width - top_x), (top_x - x) / top_x * 0.55)
        floor = np.stack([x, self.dome(side) + self.dome_depth * np.abs(reach) ** 2.4], 1)
        inner = np.array([[_MEDIAL_X, 0.45], [_MEDIAL_X, self.apex_y + 0.05], [0.06, self.apex_y + 0.005]])
        roof = np.array([[0.22 * self.lung_width, self.apex_y - 0.012]])
        return np.concatenate([lateral, floor, inner, roof]) * (side, 1)

    def heart_outline(self) -> np.ndarray:
        """(K, 2) closed outline of the heart's shadow."""
        right, left = self.heart
        top, bottom = self.heart_top_y, max(self.dome_y) + 0.035
        height = bottom - top
        w = self.mediastinum
        points = [
            (-w * 0.8, top - 0.03),
            (-max(w, right * 0.78), top + 0.36 * height),
            (-right, top + 0.68 * height),
            (-right * 0.82, bottom - 0.02),
            (left * 0.40, bottom + 0.02),
            (left * 0.92, bottom - 0.02),
            (left, bottom - 0.20 * height),
            (left * 0.90, top + 0.60 * height),
            (max(left * 0.66, w), top + 0.36 * height),
            (w * 1.12, top + 0.10 * height),
            (w * 0.8, top - 0.03),
        ]
        return smooth_outline(np.array(points))

    def mediastinum_outlines(self) -> list[np.ndarray]:
        """Closed outlines: the central band and the aortic knob."""
        w = self.mediastinum
        band = [(-w * 0.7, -0.1), (-w, 0.25), (-w * 0.9, 0.5), (-w, 0.9), (w, 0.9), (w * 0.8, 0.5), (w, 0.25)]
        knob = ellipse_outline((w * 0.75, self.apex_y + 0.155), (self.knob, self.knob * 1.2))
        return [smooth_outline(np.array([*band, (w * 0.7, -0.1)])), knob]

    def torso_outline(self) -> np.ndarray:
        """(K, 2) closed outline of neck, shoulders and trunk."""
        w, shoulder = self.torso, self.apex_y
        half = [
            (0.11, -0.3),
            (0.115, shoulder - 0.10),
            (0.2, shoulder - 0.055),
            (0.4, shoulder),
            (0.52, shoulder + 0.1),
        ]
        half += [(0.54, shoulder + 0.2), (w + 0.06, shoulder + 0.30), (w, 0.6), (w, 0.85), (w - 0.01, 1.3)]
        side = np.array(half)
        return smooth_outline(np.concatenate([side, side[::-1] * (-1, 1)]))

    def posterior_ribs(self) -> np.ndarray:
        """Centre lines (20, K, 2) of the posterior ribs of both sides, from the spine outwards."""
        t, k = np.linspace(0, 1, 9), np.arange(10)[:, None]
        y = self.apex_y + 0.012 + k * self.rib_spacing
        drop = self.rib_drop * (0.5 + 0.085 * k)
        reach = self._chest_wall(y + drop)
        x = 0.02 + t**0.9 * (reach - 0.02)
        return _both_sides(x, y - 0.022 * np.sin(np.pi * t**0.7) + drop * t**1.8)

    def anterior_ribs(self) -> np.ndarray:
        """Centre lines (14, K, 2) of the anterior ribs, from the chest wall down towards the sternum."""
        t, k = np.linspace(0, 1, 7), np.arange(7)[:, None]
        y = self.apex_y + 0.06 + k * self.rib_spacing * 1.25
        fall = (0.08 + 0.014 * k) * t**1.3 + 0.012 * np.sin(np.pi * t)
        return _both_sides(self._chest_wall(y) * (1 - 0.62 * t), y + fall)

    def clavicles(self) -> np.ndarray:
        """Centre lines (2, K, 2) of both clavicles, S-shaped."""
        t = np.linspace(0, 1, 9)[None]
        y = self.apex_y + 0.03 + self.clavicle_drop * (1 - t) + 0.012 * np.sin(2 * np.pi * t)
        return _both_sides(0.035 + t * 0.33, y)

    def _chest_wall(self, y: np.ndarray) -> np.ndarray:
        """Distance from the spine to just outside the lung at `y`."""
        return self.lateral_x((y - self.apex_y) / (self.dome_y[0] + self.dome_depth - self.apex_y)) + 0.011


def _both_sides(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lines x, y (L, K) on the left and their mirror images: (2 * L, K, 2)."""
    lines = np.stack([x, y], -1)
    return np.concatenate([lines * (RIGHT, 1), lines])


def draw_anatomy(rng: np.random.Generator, *, female: bool) -> Anatomy:
    """A patient's anatomy; smaller lungs and a narrower trunk in women."""
    size = rng.normal(1.0, 0.045) * (0.965 if female else 1.0)
    right_dome = 0.665 + rng.normal(0, 0.022) + 0.3 * (size - 1)
    return Anatomy(
        lung_width=0.362 * size,
        apex_y=0.135 + rng.normal(0, 0.014),
        dome_y=(right_dome, right_dome + rng.normal(0.022, 0.009)),
        dome_depth=rng.uniform(0.08, 0.12),
        heart=(0.092 * size * rng.normal(1, 0.06), 0.178 * size * rng.normal(1, 0.05)),
        heart_top_y=rng.uniform(0.33, 0.37),
        knob=rng.uniform(0.022, 0.04),
        mediastinum=rng.uniform(0.05, 0.064),
        spine_bend=rng.normal(0, 0.006),
        rib_spacing=rng.uniform(0.056, 0.063),
        rib_drop=rng.uniform(0.08, 0.15),
        rib_width=rng.uniform(0.016, 0.022),
        clavicle_drop=rng.uniform(0.015, 0.075),
        torso=0.425 * size * rng.uniform(0.98, 1.12),
        flesh=rng.uniform(0.60, 0.78),
        breast=rng.uniform(0.09, 0.16) if female else 0.0,
        air=rng.uniform(0.45, 0.53),
        markings=rng.uniform(0.75, 1.1),
        bubble=rng.uniform(0.035, 0.07) if rng.random() < 0.6 else 0.0,
    )


def vessel_tree(rng: np.random.Generator, anatomy: Anatomy, side: int) -> list[Stroke]:
    """A lung's vessels: trunks from the hilum, each dividing twice, thinner and fainter outwards."""
    angle = np.linspace(-1.3, 1.35, 10) + rng.normal(0, 0.1, 10)
    length = rng.uniform(0.15, 0.24, 10) * np.where(angle < 0, 1.0, 1.15)
    trunks = _shoots(rng, np.broadcast_to(anatomy.hilum(side), (10, 2)), angle, length, side)
    start = np.array([1, 1, 2, 2, 3, 3])
    angle = angle[:, None] + rng.normal(0, 0.5, (10, 6))
    branches = _shoots(rng, trunks[:, start].reshape(-1, 2), angle.ravel(), rng.uniform(0.05, 0.13, 60), side)
    angle = angle.ravel() + rng.normal(0, 0.6, 60)
    twigs = _shoots(rng, branches[:, 2], angle, rng.uniform(0.03, 0.07, 60), side)
    return [
        (twigs, 0.0035, 0.40),
        (branches[:, 2:], 0.0040, 0.42),
        (branches[:, :3], 0.0055, 0.5),
        (trunks[:, 2:], 0.0075, 0.55),
        (trunks[:, :3], 0.0110, 0.65),
    ]


def _shoots(
    rng: np.random.Generator, start: np.ndarray, angle: np.ndarray, length: np.ndarray, side: int
) -> np.ndarray:
    """Slightly bowed lines (L, 4, 2) from `start` (L, 2) in direction `angle` (0 is lateral, positive is down)."""
    way = np.stack([side * np.cos(angle), np.sin(angle)], 1)[:, None]
    bow = way[..., ::-1] * (-1, 1) * rng.normal(0, 0.12, (len(angle), 1, 1))
    return start[:, None] + length[:, None, None] * (way * _SHOOT + bow * np.sin(np.pi * _SHOOT))
