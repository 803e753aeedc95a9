"""The lumbar phantom's anatomy: sagittal T2 slices of a spine whose canal is narrowed at each level by its grade.

Everything is drawn in the coordinates of the spine: s runs down along the posterior wall of the vertebral bodies, t
across it (negative in the bodies, positive in the canal and behind it), z from one side of the patient to the other;
all in mm.
"""

from dataclasses import dataclass

import cv2
import numpy as np

NUM_LEVELS = 5
FREE_WIDTH = ((0.68, 1.0), (0.4, 0.68), (0.08, 0.4))
"""Remaining share of the canal's depth (low, high) by grade: Normal/Mild, Moderate, Severe."""

_SLICE_SPACING_MM = 4.4
_STEP_MM = 1.0  # between points of the spine's curve
_NUM_DISCS = NUM_LEVELS + 3  # T12/L1 above, S1/S2 and S2/S3 below


@dataclass(frozen=True)
class Disc:
    """One disc and the narrowing of the canal beside it. Lengths in mm.

    Attributes:
        s: position along the spine.
        height: of the disc.
        signal: of its nucleus, 0-1: dark if degenerated, independent of the grade.
        free: remaining share of the canal's depth.
        front: share of the narrowing due to the disc in front; the rest is due to the ligament behind.
        extent: of the narrowing along the spine (standard deviation).
        lean: z of the strongest narrowing.
    """

    s: float
    height: float
    signal: float
    free: float
    front: float
    extent: float
    lean: float


@dataclass(frozen=True)
class Spine:
    """One patient. Lengths in mm, signals as shares of the cerebrospinal fluid's.

    Attributes:
        curve: (K, 2) x and y of points _STEP_MM apart along the posterior wall.
        discs: from top to bottom.
        field_of_view: side of the picture.
        depth: of the vertebral bodies.
        canal, half_width: depth of the canal, and half its width across z.
        middle, tilt: z of the canal's centre at the top, and its change per mm (scoliosis).
        conus_s: end of the cord.
        skin, fat: distance of the skin behind the canal, and thickness of the fat under it.
        bone, muscle, fat_signal, noise: brightness.
        fade: length over which the coil's sensitivity fades.
    """

    curve: np.ndarray
    discs: tuple[Disc, ...]
    field_of_view: float
    depth: float
    canal: float
    half_width: float
    middle: float
    tilt: float
    conus_s: float
    skin: float
    fat: float
    bone: float
    muscle: float
    fat_signal: float
    noise: float
    fade: float

    def points(self, px: int) -> np.ndarray:
        """(NUM_LEVELS, 2) x and y of the canal's middle at each level, in pixels of a `px` image."""
        positions = np.array([disc.s for disc in self.discs[1 : 1 + NUM_LEVELS]])
        foot, normal = _along(self.curve, positions)
        return (foot + normal * self.canal / 2) * px / self.field_of_view - 0.5

    def middle_z(self, s: np.ndarray) -> np.ndarray:
        """z of the canal's centre at s (...,)."""
        return self.middle + self.tilt * s


def draw_spine(grades: np.ndarray, rng: np.random.Generator) -> Spine:
    """A patient with these grades (NUM_LEVELS,), 0-2, at L1/L2 to L5/S1; everything else is drawn from `rng`."""
    field_of_view = rng.uniform(225, 260)
    pitch = rng.uniform(0.93, 1.07) * np.array([32.5, 34, 35, 36, 36, 32, 22]) * field_of_view / 240
    first = rng.uniform(6, 18)
    positions = first + np.concatenate([[0.0], np.cumsum(pitch)])
    return Spine(
        curve=_draw_curve(field_of_view, float(positions[NUM_LEVELS]), rng),
        discs=tuple(_draw_disc(k, float(positions[k]), grades, rng) for k in range(_NUM_DISCS)),
        field_of_view=field_of_view,
        depth=rng.uniform(30, 36),
        canal=rng.uniform(14.5, 18),
        half_width=rng.uniform(10.5, 13),
        middle=rng.uniform(-2.5, 2.5),
        tilt=rng.uniform(-0.02, 0.02),
        conus_s=float(positions[1]) + rng.uniform(-22, 10),
        skin=rng.uniform(48, 75),
        fat=rng.uniform(6, 24),
        bone=rng.uniform(0.24, 0.42),
        muscle=rng.uniform(0.08, 0.16),
        fat_signal=rng.uniform(0.5, 0.95),
        noise=rng.uniform(0.015, 0.04),
        fade=rng.uniform(70, 160),
    )


def _draw_disc(k: int, s: float, grades: np.ndarray, rng: np.random.Generator) -> Disc:
    sacral = k > NUM_LEVELS
    graded = 1 <= k <= NUM_LEVELS
    low, high = FREE_WIDTH[int(grades[k - 1])] if graded else (0.9, 1.0)
    return Disc(
        s=s,
        height=rng.uniform(2.5, 4) if sacral else rng.uniform(6, 11),
        signal=rng.uniform(0.08, 0.6),
        free=rng.uniform(low, high),
        front=rng.uniform(0.45, 0.8),
        extent=rng.uniform(3.5, 5.5),
        lean=rng.uniform(-3, 3),
    )


def _draw_curve(field_of_view: float, sacrum_s: float, rng: np.random.Generator) -> np.ndarray:
    """(K, 2) posterior wall: forwards down to about L4, then backwards along the sacrum."""
    s = np.arange(0, field_of_view * 1.5, _STEP_MM)
    knots = np.array([0.0, 0.45, 0.8, 1.0, 1.2, 1.6]) * sacrum_s
    angles = np.array([-13.0, -9.0, 8.0, 30.0, 44.0, 47.0]) + rng.normal(0, 2.5, 6) + rng.normal(0, 3)
    width = 15 + 2 * 30  # a moving average smooths the angle
    angle = np.interp(np.arange(-width // 2, len(s) + width // 2) * _STEP_MM, knots, np.deg2rad(angles))
    angle = np.convolve(angle, np.full(width, 1 / width), mode="same")[width // 2 : width // 2 + len(s)]
    x = np.cumsum(np.sin(angle)) * _STEP_MM
    y = np.cumsum(np.cos(angle)) * _STEP_MM - 2 * _STEP_MM
    upper = y < field_of_view * 0.75
    left = field_of_view * rng.uniform(0.40, 0.47) - float(x[upper].min())
    return np.stack([x + left, y], axis=1)


def _along(curve: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the curve at s (...,) and the unit normals there, pointing backwards (to larger x); each (..., 2)."""
    at = np.arange(len(curve)) * _STEP_MM
    tangent = np.gradient(curve, _STEP_MM, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    foot = np.stack([np.interp(s, at, curve[:, 0]), np.interp(s, at, curve[:, 1])], axis=-1)
    down = np.stack([np.interp(s, at, tangent[:, 0]), np.interp(s, at, tangent[:, 1])], axis=-1)
    return foot, np.stack([down[..., 1], -down[..., 0]], axis=-1)


@dataclass(frozen=True)
class Frame:
    """Coordinates of each pixel, all (px, px) float32 in mm.

    Attributes:
        s, t: along and across the spine; see the module.
        behind: distance in front of the skin (negative in the air).
        narrowing: (discs, px, px) strength of each disc's narrowing at the pixel's s, 0-1.
        texture: smooth noise of unit variance, finer along the spine than across.
    """

    s: np.ndarray
    t: np.ndarray
    behind: np.ndarray
    narrowing: np.ndarray
    texture: np.ndarray


def make_frame(spine: Spine, px: int, rng: np.random.Generator) -> Frame:
    """The coordinates that all slices of a series share."""
    scale = spine.field_of_view / px
    centres = (np.arange(px) + 0.5) * scale
    x, y = np.meshgrid(centres, centres)
    s = np.interp(y, spine.curve[:, 1], np.arange(len(spine.curve)) * _STEP_MM)
    for _ in range(3):  # the foot of the perpendicular, by fixed-point iteration
        foot, normal = _along(spine.curve, s)
        s = s + 0.8 * (-(x - foot[..., 0]) * normal[..., 1] + (y - foot[..., 1]) * normal[..., 0]).clip(-12, 12)
    foot, normal = _along(spine.curve, s)
    t = (x - foot[..., 0]) * normal[..., 0] + (y - foot[..., 1]) * normal[..., 1]
    back = np.interp(centres, spine.curve[:, 1], spine.curve[:, 0])
    back = cv2.GaussianBlur(back[:, None].astype(np.float32), (1, 0), px / 4, borderType=cv2.BORDER_REPLICATE)
    behind = back + spine.canal + spine.skin + 3 * np.sin(y / 23) - x
    narrowing = np.stack([np.exp(-0.5 * ((s - disc.s) / disc.extent) ** 2) for disc in spine.discs])
    texture = cv2.resize(rng.standard_normal((px // 2, px // 2)).astype(np.float32), (px, px))
    return Frame(*(field.astype(np.float32) for field in (s, t, behind, narrowing, texture)))


def slice_positions(num_slices: int) -> np.ndarray:
    """(num_slices,) z of the slices, mm, centred on 0."""
    return (np.arange(num_slices) - (num_slices - 1) / 2) * _SLICE_SPACING_MM


def draw_slice(spine: Spine, frame: Frame, z: float, rng: np.random.Generator) -> np.ndarray:
    """(px, px) float32 magnitude signal, about 0-1 (fluid 1), of the slice at `z`."""
    off = z - spine.middle_z(frame.s)
    picture = _soft_tissue(spine, frame, off, rng)
    _put_bodies(picture, spine, frame, off)
    _put_canal(picture, spine, frame, off, rng)
    px = len(picture)
    coil = np.exp(-np.maximum(frame.behind, 0) / spine.fade) * 1.35
    shading = cv2.resize(rng.uniform(0.85, 1.15, (3, 3)).astype(np.float32), (px, px), interpolation=cv2.INTER_CUBIC)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.55) * coil * shading
    noise = rng.standard_normal((2, px, px), dtype=np.float32) * np.float32(spine.noise)
    return np.hypot(picture + noise[0], noise[1]).astype(np.float32)  # a magnitude: Rician noise


def _step(distance: np.ndarray, soft: float = 1.0) -> np.ndarray:
    """A linear ramp from 0 to 1 as `distance` goes from -soft/2 to soft/2 mm."""
    return (distance / soft + 0.5).clip(0, 1)


def _blend(picture: np.ndarray, mask: np.ndarray, signal: np.ndarray | float) -> None:
    """Draw `signal` into `picture` with opacity `mask`, in place."""
    picture += mask * (signal - picture)


def _soft_tissue(spine: Spine, frame: Frame, off: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Belly, back muscles streaked with fat, spinous processes, fat under the skin, air."""
    s, t, px = frame.s, frame.t, len(frame.s)
    coarse = cv2.resize(rng.standard_normal((9, 9)).astype(np.float32), (px, px), interpolation=cv2.INTER_CUBIC)
    picture = np.full_like(s, spine.muscle * 0.6)
    bowels = _step(frame.s - spine.discs[NUM_LEVELS].s + 0.4 * t, 12) * (0.35 + 0.3 * coarse).clip(0.05, 0.7)
    _blend(picture, _step(-t - spine.depth, 3), spine.muscle * 0.45 + bowels)
    midline = np.exp(-0.5 * (off / 6) ** 2)
    streaks = (0.5 + 0.9 * coarse + 0.5 * frame.texture).clip(0, 1)
    _blend(picture, _step(t - spine.canal, 2), spine.muscle + (0.55 * spine.fat_signal - spine.muscle) * streaks)
    for disc, lower in zip(spine.discs, spine.discs[1:], strict=False):
        # The process slopes down: it is lower further back.
        along = s - (0.4 * disc.s + 0.6 * lower.s) - 0.3 * (t - spine.canal)
        reach = t - spine.canal
        process = _step(9 - np.abs(along), 2) * _step(reach - 3, 2) * _step(30 - reach, 3) * midline
        _blend(picture, process, spine.bone * 0.9)
        rim = np.exp(-0.5 * ((np.abs(along) - 9.5) / 1.2) ** 2) * _step(reach - 2, 2) * _step(30 - reach, 3)
        _blend(picture, 0.8 * rim * midline, 0.04)
        fat = np.exp(-0.5 * ((s - disc.s) / 5) ** 2) * _step(reach, 1.5) * _step(6 - reach, 4) * midline
        _blend(picture, fat, spine.fat_signal * 0.8)
    _blend(picture, _step(spine.fat - frame.behind, 2), spine.fat_signal * (1 + 0.05 * frame.texture))
    _blend(picture, _step(-frame.behind, 1.5), 0.0)
    return picture


def _put_bodies(picture: np.ndarray, spine: Spine, frame: Frame, off: np.ndarray) -> None:
    """Vertebral bodies with dark rims, and the discs between them; both end away from the midline."""
    s, t = frame.s, frame.t
    inside = _step(-t - 0.8, 1.2) * _step(t + spine.depth, 1.2) * _step(27 - np.abs(off), 6)
    marrow = spine.bone * (1 + 0.07 * frame.texture)
    _blend(picture, _step(1.6 - np.abs(t + spine.depth / 2) + spine.depth / 2, 1) * _step(25 - np.abs(off), 6), 0.04)
    _blend(picture, inside, marrow)
    across = ((t + spine.depth / 2) / (spine.depth / 2)) ** 2  # 0 in the body's middle, 1 at its walls
    for disc in spine.discs:
        half = disc.height / 2 * (1.1 - 0.25 * across.clip(0, 1.5))
        distance = half - np.abs(s - disc.s)
        wall = _step(-t + 0.5, 1.5) * _step(t + spine.depth + 1, 1.5) * _step(27 - np.abs(off), 6)
        _blend(picture, _step(distance + 1.3, 1) * wall, 0.04)  # end plates
        nucleus = _step(distance - 0.4, 2) * (1 - across).clip(0, 1) ** 0.7
        _blend(picture, _step(distance, 1) * wall, 0.07 + disc.signal * nucleus)


def _put_canal(picture: np.ndarray, spine: Spine, frame: Frame, off: np.ndarray, rng: np.random.Generator) -> None:
    """The dural sac with cord and nerve roots, pinched at the discs; pedicles and foramina beside it."""
    s, t = frame.s, frame.t
    free, front = np.ones_like(s), np.zeros_like(s)
    for disc, near in zip(spine.discs, frame.narrowing, strict=True):
        lean = np.exp(-0.5 * ((off - disc.lean) / 14) ** 2)
        narrowing = (1 - disc.free) * near * (0.4 + 0.6 * lean)
        free -= narrowing
        front += narrowing * disc.front
    free = free.clip(0.03, 1)
    round_off = np.sqrt((1 - (off / spine.half_width) ** 2).clip(0, 1))  # the canal is an ellipse in cross-section
    taper = 1 - 0.45 * _step(s - spine.discs[NUM_LEVELS].s - 12, 50)
    depth = spine.canal * taper
    start = depth * front + 0.5 * depth * (1 - round_off) * free
    end = start + depth * free * round_off
    bed = _step(t, 1) * _step(depth - t, 1)
    foramen = np.exp(-0.5 * ((np.abs(off) - spine.half_width - 3) / 4) ** 2)
    opening = np.max(frame.narrowing, axis=0)
    beside = opening * foramen * spine.fat_signal * 0.75 + (1 - opening) * spine.bone
    lateral = _step(np.abs(off) - spine.half_width, 3)
    _blend(picture, bed, 0.05 + lateral * (beside - 0.05))  # ligament and disc in the canal are dark
    sac = _step(t - start, 1) * _step(end - t, 1) * _step(end - start - 0.6, 1.2)
    pinched = _step(free - 0.3, 0.35)  # crowded roots leave little fluid
    _blend(picture, sac, (0.38 + 0.6 * pinched) * (1 - 0.05 * np.abs(frame.texture)))
    depth_in = (t - start) / np.maximum(end - start, 0.5)
    cord_half = 0.24 * _step(spine.conus_s - s, 22) * _step(5.5 - np.abs(off), 3)
    _blend(picture, sac * _step(cord_half - np.abs(depth_in - 0.5), 0.1) * (cord_half > 0.01), 0.45)
    phase = rng.uniform(0, 6.3)
    strands = 0.5 + 0.5 * np.sin(depth_in * 22 + phase + 0.5 * np.sin(s / 17 + phase))
    roots = sac * strands * _step(depth_in - 0.45, 0.3) * _step(s - spine.conus_s, 15)
    _blend(picture, 0.5 * roots, 0.5)
