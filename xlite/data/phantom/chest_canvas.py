"""Drawing in body coordinates: soft masks, strokes and smooth noise for the chest phantom.

Body coordinates: one unit is the width of the image, x runs from the patient's right (negative) to left (positive)
with the spine at 0, y runs from 0 (top) to 1 (bottom). A canvas holds the patient's position (turn, scale, shift).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

_SUBPIXEL_BITS = 4
_MAX_BLUR_PX = 1.3  # a wider blur is drawn on a coarser grid and enlarged, which is faster and looks the same
_COARSE = 4
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)

Stroke = tuple[np.ndarray, float, float]  # lines (L, K, 2) in body coordinates, their width, their strength in [0, 1]


def smooth_outline(points: np.ndarray) -> np.ndarray:
    """Closed Catmull-Rom curve through (K, 2) points; returns (6 * K, 2)."""
    t = (np.arange(6) / 6)[:, None]
    around = np.concatenate([points[-1:], points, points[:2]])[:, None]
    p0, p1, p2, p3 = around[:-3], around[1:-2], around[2:-1], around[3:]
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (0.5 * curve).reshape(-1, 2)


def ellipse_outline(centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> np.ndarray:
    """(24, 2) points of an ellipse; `turn` in radians."""
    c, s = np.cos(turn), np.sin(turn)
    axes = np.array([[c * radii[0], s * radii[0]], [-s * radii[1], c * radii[1]]])
    return _CIRCLE @ axes + np.array(centre)


@dataclass(frozen=True)
class Canvas:
    """A square image of `px` pixels and the position of the body on it.

    Attributes:
        px: side in pixels.
        turn: rotation of the body, radians.
        scale: enlargement about the image's centre.
        shift: (x, y) displacement in image widths.
    """

    px: int
    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def to_pixels(self, points: np.ndarray, px: int) -> np.ndarray:
        """Body points (..., 2) to pixel positions on a grid of `px` pixels."""
        c, s = np.cos(self.turn) * self.scale, np.sin(self.turn) * self.scale
        x, y, placed = points[..., 0], points[..., 1], np.empty(points.shape)
        placed[..., 0] = (c * x - s * y + 0.5 + self.shift[0] + 0.5 * s) * px - 0.5
        placed[..., 1] = (s * x + c * y + 0.5 + self.shift[1] - 0.5 * c) * px - 0.5
        return placed

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates x and y of a coarse grid, each (px // 4, px // 4) float32; see `enlarged`."""
        px = self.px // _COARSE
        axis = (np.arange(px, dtype=np.float32) + 0.5) / px - 0.5
        u, v = axis[None, :] - self.shift[0], axis[:, None] - self.shift[1]
        c, s = np.float32(np.cos(self.turn) / self.scale), np.float32(np.sin(self.turn) / self.scale)
        return c * u + s * v, c * v - s * u + np.float32(0.5)

    def enlarged(self, field: np.ndarray) -> np.ndarray:
        """A coarse field enlarged to (px, px) float32."""
        size = (self.px, self.px)
        return cv2.resize(field.astype(np.float32, copy=False), size, interpolation=cv2.INTER_LINEAR)

    def noise(self, rng: np.random.Generator, num_cells: int, *, coarse: bool = False) -> np.ndarray:
        """Smooth noise of unit variance with about `num_cells` blobs across: (px, px), or the coarse grid's size."""
        px = self.px // _COARSE if coarse else self.px
        cells = rng.standard_normal((num_cells, num_cells), dtype=np.float32)
        return cv2.resize(cells, (px, px), interpolation=cv2.INTER_CUBIC)

    def fill(self, outlines: Sequence[np.ndarray], blur: float = 0.0, strengths: Sequence[float] = ()) -> np.ndarray:
        """Soft mask (px, px) float32 in [0, 1] of filled outlines.

        Args:
            outlines: each (K, 2), closed; later ones overwrite earlier ones.
            blur: softness of the edges (sigma, in image widths).
            strengths: value inside each outline; default: 1.
        """
        px, sigma = self._drawing_size(blur)
        mask = np.zeros((px, px), np.uint8)
        for k, outline in enumerate(outlines):  # one call each: overlapping outlines in one call would cancel
            value = round(255 * strengths[k]) if strengths else 255
            cv2.fillPoly(mask, [self._fixed_point(outline, px)], value, cv2.LINE_AA, _SUBPIXEL_BITS)
        return self._softened(mask, sigma)

    def stroke(self, groups: Sequence[Stroke], blur: float = 0.0) -> np.ndarray:
        """Soft lines (px, px) float32 in [0, 1]; later groups overwrite earlier ones where they cross.

        A line thinner than a pixel is drawn one pixel wide and proportionally fainter, so that all image sizes agree.
        """
        px, sigma = self._drawing_size(blur)
        mask = np.zeros((px, px), np.uint8)
        for lines, width, strength in groups:
            width_px = width * self.scale * px
            value = round(255 * strength * min(1.0, width_px))
            fixed = list(self._fixed_point(lines, px))
            kind = cv2.LINE_AA if width_px < 2.5 else cv2.LINE_8  # anti-aliasing thick lines takes five times as long
            cv2.polylines(mask, fixed, False, value, max(1, round(width_px)), kind, _SUBPIXEL_BITS)
        return self._softened(mask, sigma)

    def _drawing_size(self, blur: float) -> tuple[int, float]:
        px, sigma = self.px, blur * self.scale * self.px
        while sigma > _MAX_BLUR_PX and px >= 64:
            px, sigma = px // 2, sigma / 2
        return px, sigma

    def _fixed_point(self, points: np.ndarray, px: int) -> np.ndarray:
        return np.rint(self.to_pixels(points, px) * 2**_SUBPIXEL_BITS).astype(np.int32)

    def _softened(self, mask: np.ndarray, sigma: float) -> np.ndarray:
        if sigma > 0.3:
            size = 3 if sigma < 0.7 else 5  # sizes with fast paths in OpenCV
            mask = cv2.GaussianBlur(mask, (size, size), sigma)
        field = mask.astype(np.float32)
        field *= np.float32(1 / 255)
        return field if len(mask) == self.px else self.enlarged(field)
