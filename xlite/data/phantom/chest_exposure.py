"""From density to image: positioning, exposure, noise, collimation and inscriptions."""

from dataclasses import dataclass

import cv2
import numpy as np

from xlite.data.phantom.chest_canvas import Canvas, ellipse_outline

_TONES = 1024


@dataclass(frozen=True)
class Exposure:
    """What differs between two images of one patient, apart from the findings.

    Attributes:
        canvas: the patient's position in the image.
        breath: distance of the diaphragm below its middle position, in image widths.
        contrast, brightness, gamma: of the film's tone curve.
        noise: standard deviation of the quantum noise in grey levels (0 to 1).
        collimated: corners (4, 2) in image widths of the area outside which the image is black, or None.
        portable: an AP image from the ward, with its inscription and wires.
    """

    canvas: Canvas
    breath: float
    contrast: float
    brightness: float
    gamma: float
    noise: float
    collimated: np.ndarray | None
    portable: bool


def draw_exposure(rng: np.random.Generator, *, image_px: int, portable: bool) -> Exposure:
    """Positioning and exposure of one image; portable images are positioned worse, flatter and noisier."""
    spread = 1.4 if portable else 1.0
    canvas = Canvas(
        image_px,
        turn=float(np.clip(rng.normal(0, 0.022 * spread), -0.1, 0.1)),
        scale=float(np.clip(rng.normal(1.0, 0.03 * spread), 0.88, 1.12)),
        shift=(float(rng.normal(0, 0.012 * spread)), float(rng.normal(0.005, 0.015 * spread))),
    )
    collimated = None
    if rng.random() < 0.35:
        low, high = rng.uniform(-0.02, 0.07, 2), 1 - rng.uniform(-0.02, 0.07, 2)
        corners = np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])])
        c, s = np.cos(canvas.turn), np.sin(canvas.turn)
        collimated = (corners - 0.5) @ np.array([[c, s], [-s, c]]) + 0.5
    return Exposure(
        canvas=canvas,
        breath=float(rng.normal(-0.012 if portable else 0.0, 0.012)),
        contrast=float(rng.normal(1.0, 0.08)) * (0.88 if portable else 1.0),
        brightness=float(rng.normal(0.02, 0.05)),
        gamma=float(rng.uniform(0.85, 1.25)),
        noise=float(rng.uniform(0.006, 0.015)) * (1.3 if portable else 1.0),
        collimated=collimated,
        portable=portable,
    )


def wires(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """(px, px) leads and electrodes on the skin of some patients on the ward, independent of the findings."""
    if rng.random() < 0.5:
        return np.zeros((canvas.px, canvas.px), np.float32)
    t = np.linspace(0, 1, 14)
    strokes = []
    for _ in range(int(rng.integers(1, 4))):
        end = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.2, 0.7)])
        start = np.array([rng.choice([-0.5, 0.5]), 0.15])
        sag = rng.normal(0, 0.08)
        wire = start + (end - start) * t[:, None] + np.stack([0 * t, sag * np.sin(np.pi * t)], 1)
        strokes += [(wire[None], 0.004, 0.8), (ellipse_outline((end[0], end[1]), (0.008, 0.008))[None], 0.01, 0.9)]
    return canvas.stroke(strokes)


def develop(film: np.ndarray, exposure: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Density to grey levels, uint8: noise, tone curve and collimation. `film` is changed in place."""
    px = exposure.canvas.px
    grain = np.frombuffer(rng.bytes(px * px), np.uint8).reshape(px, px).astype(np.float32)
    # means of 4 uniform bytes, which are close to normal
    film += exposure.noise * (1 / 37) * (cv2.blur(grain, (2, 2)) - 127.5)
    film += exposure.canvas.enlarged(0.025 * exposure.canvas.noise(rng, 4, coarse=True))
    density = np.linspace(-0.25, 1.45, _TONES)
    tone = 0.46 + exposure.brightness + exposure.contrast * 0.95 * (density - 0.5)
    soft = np.log1p(np.exp(np.clip(tone, -1, 2) * 12)) / 12 - np.log1p(np.exp((np.clip(tone, -1, 2) - 1) * 12)) / 12
    table = np.rint(255 * np.clip(soft, 0, 1) ** exposure.gamma).astype(np.uint8)
    film += 0.25
    film *= (_TONES - 1) / 1.70
    picture = table.take(film.astype(np.int32), mode="clip")
    if exposure.collimated is not None:
        window = np.zeros_like(picture)
        cv2.fillPoly(window, [np.rint(exposure.collimated * px * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        picture = cv2.multiply(picture, window, scale=1 / 255)
    return picture


def inscribe(picture: np.ndarray, exposure: Exposure) -> np.ndarray:
    """Draw the side marker, and the word PORTABLE on portable images, in place."""
    px = len(picture)
    cv2.putText(
        picture, "L", (round(0.91 * px), round(0.09 * px)), cv2.FONT_HERSHEY_SIMPLEX, px / 600, 235, 1, cv2.LINE_AA
    )
    if exposure.portable:
        where = (round(0.03 * px), round(0.06 * px))
        cv2.putText(picture, "PORTABLE", where, cv2.FONT_HERSHEY_SIMPLEX, px / 1000, 225, 1, cv2.LINE_AA)
    return picture
