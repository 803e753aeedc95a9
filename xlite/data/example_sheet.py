"""An overview image of a data set: examples of each label, before and after preprocessing, side by side."""

from pathlib import Path

import cv2
import numpy as np

from xlite.data.decode import read_picture
from xlite.data.image_formats import HEAD_BYTES, SUFFIXES, is_picture
from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import Preprocess
from xlite.data.table import Item, Table
from xlite.data.unreadable import UnreadableImage
from xlite.errors import InputError
from xlite.storage.files import atomic_write

TILE_PX = 128
_GAP_PX, _NAME_PX = 4, 22
_BACKGROUND, _INK = 24, (235, 235, 235)


def example_sheet(table: Table, preprocess: Preprocess, *, per_label: int = 4) -> np.ndarray:
    """Draw up to `per_label` random examples of each label; those that cannot be read are skipped.

    An example is shown after `preprocess` and, if its raw file is an image, before it, on the left. Of a stack of
    slices, or of several raw files, the middle one is shown. Values that are not uint8 are scaled from their own 1st to
    99th percentile. Raw images keep their aspect ratio.

    Args:
        per_label: at least 1.

    Returns:
        (H, W, 3) uint8, red, green, blue.
    """
    assert per_label >= 1 and len(table.labels) >= 1
    order = np.random.default_rng(0).permutation(len(table))
    rows = []
    has_label = (table.targets == 1).reshape(len(table), -1, len(table.labels)).any(axis=1)
    for number, label in enumerate(table.labels):
        chosen = [row for row in order.tolist() if has_label[row, number]]
        rows.append((f"{label} ({len(chosen)})", _example_tiles(table, chosen, preprocess, per_label)))
    width = max((tile.shape[1] for _, tiles in rows for tile in tiles), default=TILE_PX)
    return np.concatenate([named_row(name, tiles, width, per_label) for name, tiles in rows])


def write_sheet(path: Path, table: Table, preprocess: Preprocess) -> None:
    """Write `example_sheet` to `path` as PNG, atomically."""
    sheet = example_sheet(table, preprocess)
    with atomic_write(path) as temporary:
        temporary.write_bytes(png_of(sheet))


def png_of(sheet: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG file's content."""
    encoded, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert encoded
    return data.tobytes()


def _example_tiles(table: Table, rows: list[int], preprocess: Preprocess, max_tiles: int) -> list[np.ndarray]:
    """Up to `max_tiles` examples, each (T, T or 2T + gap, 3) uint8, from at most twice as many rows."""
    tiles: list[np.ndarray] = []
    for row in rows[: 2 * max_tiles]:
        if len(tiles) == max_tiles:
            break
        item = table.items[row]
        try:
            after = tile_of(picture_of(preprocess.read(item), preprocess.input_spec), keep_aspect=False)
            before = _raw_picture(item)
        except (UnreadableImage, InputError, OSError):
            continue
        gap = np.full((TILE_PX, 1, 3), _BACKGROUND, np.uint8)
        tiles.append(after if before is None else np.hstack([tile_of(before, keep_aspect=True), gap, after]))
    return tiles


def picture_of(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 image of one input: its middle slice, and unless it has 3 channels the middle one."""
    if spec.layout == "slices":
        pixels = pixels[spec.num_slices // 2]
    if spec.has_channel_axis and spec.channels != 3:
        pixels = pixels[..., spec.channels // 2]
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(finite, [1, 99])
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _raw_picture(item: Item) -> np.ndarray | None:
    """The middle one of the item's raw files as (H, W, 3) uint8; None if it is not an image."""
    path = item.paths[len(item.paths) // 2]
    if path.suffix.lower() not in SUFFIXES:
        with path.open("rb") as file:
            if not is_picture(file.read(HEAD_BYTES)):
                return None
    return read_picture(path, channels=3)


def tile_of(picture: np.ndarray, *, keep_aspect: bool) -> np.ndarray:
    """(T, T, 3) uint8; with `keep_aspect` the picture is centred on the background, else stretched."""
    if picture.ndim == 2:
        picture = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_GRAY2RGB)
    height, width = picture.shape[:2]
    scale = TILE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale))) if keep_aspect else (TILE_PX, TILE_PX)
    shrinks = size[0] <= width and size[1] <= height
    drawn = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)
    tile = np.full((TILE_PX, TILE_PX, 3), _BACKGROUND, np.uint8)
    top, left = (TILE_PX - size[1]) // 2, (TILE_PX - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = drawn
    return tile


def named_row(name: str, tiles: list[np.ndarray], width: int, num_tiles: int) -> np.ndarray:
    """A name above tiles, e.g. a label's above its examples, with space for `num_tiles` of `width` px."""
    row = np.full((_NAME_PX + TILE_PX + _GAP_PX, _GAP_PX + num_tiles * (width + _GAP_PX), 3), _BACKGROUND, np.uint8)
    text = name.encode("ascii", "replace").decode()  # OpenCV's fonts have no other characters
    cv2.putText(row, text, (_GAP_PX, _NAME_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    for i, tile in enumerate(tiles):
        left = _GAP_PX + i * (width + _GAP_PX)
        row[_NAME_PX : _NAME_PX + TILE_PX, left : left + tile.shape[1]] = tile
    return row
