"""The teacher bank: the teacher's logits for every (view, row), and the views' pixels where they fit, computed once."""

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.batches import ViewReader
from xlite.data.views import VIEWS_VERSION
from xlite.device import Device
from xlite.distill.bank_build import (
    LOGITS,
    PIXELS,
    PROGRESS,
    RECORD,
    Arrays,
    Source,
    build,
    crc32_of,
    read_progress,
)
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.storage.arrays import is_complete_npy
from xlite.storage.files import read_json, write_json
from xlite.storage.locks import locked

FORMAT = 2
PIXEL_BUDGET_BYTES = 2 * 2**30
"""Up to this many bytes of augmented pixels are kept beside the logits, so that a trial augments nothing."""

BATCH_SIZES = {"cpu": 64, "cuda": 256}
"""Views the teacher is asked about at once: on a CPU what stays in a core's cache."""
_NUM_SAMPLED_VIEWS = 16  # enough that other augmentation code, or other pixels, show


@dataclass(frozen=True)
class Bank:
    """What trials read; cheap to pickle, mapped read-only when first read in a process.

    Attributes:
        folder: holds `logits.npy` (V, R, ..., L) float16, perhaps `pixels.npy` (V, R, *shape), and `bank.json`.
        num_views: V. Epoch e shows view e mod V.
        has_pixels: whether the views' pixels are kept too.
    """

    folder: Path
    num_views: int
    has_pixels: bool

    def read(self, positions: np.ndarray, views: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Pixels (B, *shape) or None, and logits (B, ..., L) float32, of the asked-for views of training rows.

        Raises:
            InputError: a file was cut short or removed since the bank was opened.
        """
        pixels = self._map(PIXELS)[views, positions] if self.has_pixels else None
        return pixels, self._map(LOGITS)[views, positions].astype(np.float32)

    def bytes_per_view(self) -> dict[str, float]:
        """Bytes a view of an image takes, header included: file name -> bytes."""
        names = [LOGITS, PIXELS] if self.has_pixels else [LOGITS]
        return {name: (self.folder / name).stat().st_size / math.prod(self._map(name).shape[:2]) for name in names}

    def _map(self, name: str) -> np.ndarray:
        key = (str(self.folder), name)
        if key not in _MAPS:
            try:
                # A map as long as the header says, or a ValueError: reading past the end would be a SIGBUS.
                _MAPS[key] = np.asarray(np.load(self.folder / name, mmap_mode="r"))
            except (OSError, ValueError):
                raise InputError(f"{self.folder / name}: damaged or gone; run the study again to rebuild it") from None
        return _MAPS[key]


_MAPS: dict[tuple[str, str], np.ndarray] = {}


def open_or_build(
    teacher: Teacher,
    reader: ViewReader,
    *,
    auxiliary: np.ndarray | None = None,
    data_key: str,
    num_views: int,
    logits_shape: tuple[int, ...],
    folder: Path,
    device: Device,
    pixel_budget_bytes: int = PIXEL_BUDGET_BYTES,
    batch_size: int | None = None,
    progress: ProgressCallback | None = None,
) -> Bank:
    """The bank of this teacher over these views, computed unless a whole one lies in `folder` already.

    Every byte of a bank that is there is compared with its CRC-32, once, here: a damaged one is built again. One that
    was interrupted is continued. When another process is building it, this one waits for that.

    Args:
        extras: (R, E) of the training rows, or None.
        logits_shape: of one example: (L,), or (H, L).
        data_key: stands for the pixels and the training part, in order.
        folder: all banks live below it, one folder a key.
        batch_size: views the teacher is asked about at once, of stacks slices; default `BATCH_SIZES`.
        progress: called with (views done, views) while building or waiting.

    Raises:
        InputError: the disk is full, the folder cannot be written, or the teacher's logits are not finite.
    """
    identity = _identity(teacher, reader, data_key=data_key, num_views=num_views, device=device)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    place = folder / key
    bank = _open(place, identity)
    if bank is not None:
        return bank
    spec = teacher.input_spec
    batch_size = max(1, (batch_size or BATCH_SIZES[device.torch_device.type]) // spec.num_slices)
    source = Source(teacher, reader, auxiliary, device, num_views, batch_size)
    arrays: dict[str, tuple[tuple[int, ...], str]] = {LOGITS: ((num_views, len(reader.rows), *logits_shape), "<f2")}
    if num_views * len(reader.rows) * math.prod(spec.shape) * reader.pixels.itemsize <= pixel_budget_bytes:
        arrays[PIXELS] = ((num_views, len(reader.rows), *spec.shape), reader.pixels.dtype.str)

    def waiting() -> None:
        done, total = read_progress(place)
        if progress is not None and total:
            progress(done, total)

    try:
        with locked(place, waiting=waiting):
            return _open(place, identity) or _build(place, identity, source, arrays, progress)
    except OSError as error:
        raise InputError(
            f"{place}: the teacher bank cannot be written ({error.strerror or error}); "
            "fix that or use another --cache-dir"
        ) from None


def _build(
    place: Path, identity: Mapping[str, Any], source: Source, arrays: Arrays, progress: ProgressCallback | None
) -> Bank:
    for name in arrays:
        _MAPS.pop((str(place), name), None)  # of the damaged bank that this one replaces
    layout = {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in arrays.items()}
    meaning = {**identity, "batch_size": source.batch_size, "arrays": layout}
    states = build(place, meaning, source, arrays, progress)
    record = {**meaning, "files": states}
    write_json(place / RECORD, record)
    (place / PROGRESS).unlink(missing_ok=True)
    return _bank(place, record)


def _identity(teacher: Teacher, reader: ViewReader, *, data_key: str, num_views: int, device: Device) -> dict[str, Any]:
    """What decides a bank's content, as JSON values.

    The pixels of a few views stand for all of them: where the augmentation's own code or a library under it gives
    other pixels than it did, the bank is another one, and the old one is not used.
    """
    random = np.random.default_rng(0)
    positions = random.integers(len(reader.rows), size=_NUM_SAMPLED_VIEWS)
    sampled = reader.read(positions, random.integers(num_views, size=_NUM_SAMPLED_VIEWS))
    return {
        "format": FORMAT,
        "views_version": VIEWS_VERSION,
        "teacher": teacher.key,
        "models": [description.get("model") for description in teacher.descriptions],
        "image_sizes": list(teacher.image_sizes),
        "data": data_key,
        "augmentation": f"{reader.augment.__module__}.{reader.augment.__qualname__} {reader.augmentation}",  # type: ignore[attr-defined]
        "seed": reader.seed,
        "num_views": num_views,
        "shape": list(reader.pixels.shape[1:]),
        "precision": str(device.autocast_dtype),
        "sampled_views_crc32": zlib.crc32(sampled.tobytes()),
    }


def _open(place: Path, identity: Mapping[str, Any]) -> Bank | None:
    """The bank in `place` if it is this one and every byte is what was written, else None."""
    try:
        record = read_json(place / RECORD)
        whole = all(record[key] == value for key, value in identity.items())
        whole = whole and record["files"].keys() == record["arrays"].keys()
        for name, array in record["arrays"].items():
            whole = whole and is_complete_npy(place / name, tuple(array["shape"]), array["dtype"])
            num_bytes, crc32 = record["files"][name]
            whole = whole and crc32_of(place / name, num_bytes) == crc32
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):  # none yet, or damaged
        return None
    return _bank(place, record) if whole else None


def _bank(place: Path, record: Mapping[str, Any]) -> Bank:
    return Bank(place, record["num_views"], PIXELS in record["files"])
