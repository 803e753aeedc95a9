"""Example pictures of a data set, small enough for a page."""

import base64

import cv2
import numpy as np

from xlite.data.dataset import Dataset
from xlite.data.example_sheet import picture_of
from xlite.html_report.parts import Picture

_SIDE_PX, _MAX_LABELS, _QUALITY = 112, 24, 88


def example_pictures(dataset: Dataset, *, per_label: int = 2, seed: int = 0) -> list[Picture]:
    """`per_label` training examples of each label, from the pixel cache; of many labels the first ones."""
    pixels, rng, shown = dataset.open_pixels(), np.random.default_rng(seed), []
    for number, label in list(enumerate(dataset.labels))[:_MAX_LABELS]:
        for position in rng.permutation(with_label(dataset, dataset.part("train"), number))[:per_label].tolist():
            picture = picture_of(np.asarray(pixels[dataset.rows[position]]), dataset.input_spec)
            shown.append(as_picture(picture, label, side_px=_SIDE_PX))
    return shown


def with_label(dataset: Dataset, positions: np.ndarray, number: int) -> np.ndarray:
    """Those of `positions` that have the label of this number, in any of their parts."""
    targets = dataset.targets[positions].reshape(len(positions), -1, len(dataset.labels))
    return positions[(targets[:, :, number] == 1).any(axis=1)]


def as_picture(image: np.ndarray, says: str, *, side_px: int) -> Picture:
    """(H, W) or (H, W, 3) uint8, red, green, blue, as JPEG whose longer side is shown `side_px` wide."""
    height, width = image.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 0.5:  # twice as many pixels as shown, for sharp screens
        image = cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_AREA)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert encoded
    return Picture("data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode(), *size, says)
