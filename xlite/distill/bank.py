"""The teacher bank: the teacher's answers for each (view, row), computed once, and the views' pixels where they fit."""

import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.views import VIEWS_VERSION
from xlite.device import is_out_of_memory, release_memory
from xlite.distill.bank_build import (
    LOGITS,
    PIXELS,
    PROGRESS,
    RECORD,
    Arrays,
    BankSource,
    build,
    crc32_of,
    read_progress,
)
from xlite.errors import InputError
from xlite.storage.arrays import is_complete_npy
from xlite.storage.files import fingerprint, read_json, write_json
from xlite.storage.locks import locked

FORMAT = 2
PIXEL_BUDGET_BYTES = 2 * 2**30
"""Up to this many bytes of augmented pixels are kept beside the logits, so that a trial augments nothing."""
_NUM_SAMPLED_VIEWS = 16  # enough to notice other augmentation code or other pixels


@dataclass(frozen=True)
class Bank:
    """A complete bank; cheap to pickle, mapped read-only when a process first reads it.

    Attributes:
        folder: holds `logits.npy` (V, R, ..., L) float16, perhaps `pixels.npy` (V, R, *shape), and `bank.json`.
        num_views: V. Epoch e shows view e mod V.
        has_pixels: whether the views' pixels are kept too.
        has_gaps: whether some logits are NaN: the teacher says nothing there.
    """

    folder: Path
    num_views: int
    has_pixels: bool
    has_gaps: bool = False

    def read(self, positions: np.ndarray, views: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Pixels (B, *shape) or None, and logits (B, ..., L) float32, of these views (B,) of training rows (B,).

        Raises:
            InputError: a file was cut short or removed since the bank was opened.
        """
        pixels = self._map(PIXELS)[views, positions] if self.has_pixels else None
        return pixels, self._map(LOGITS)[views, positions].astype(np.float32)

    def bytes_per_view(self) -> dict[str, float]:
        """File name -> bytes that a view of an image takes, its share of the header included."""
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
    source: BankSource,
    *,
    data_key: str,
    logits_shape: tuple[int, ...],
    folder: Path,
    pixel_budget_bytes: int = PIXEL_BUDGET_BYTES,
    progress: ProgressCallback | None = None,
) -> Bank:
    """The bank of this source; computed unless a complete one is below `folder`.

    An existing bank is compared with its CRC-32 byte by byte, once, here; a damaged one is built again. An interrupted
    build is continued. While another process builds the bank, this one waits.

    Args:
        data_key: stands for the pixels and the training part, in order.
        logits_shape: of one example: (L,), or (H, L).
        folder: of all banks; each has a folder in it, named by its key.
        progress: called with (views done, views) while building or waiting.

    Raises:
        InputError: the disk is full, the folder cannot be written, the teacher's answers are not finite, or GPU memory
            runs out.
    """
    identity = _identity(source, data_key)
    place = folder / fingerprint(identity)
    bank = _open(place, identity)
    if bank is not None:
        return bank
    shape, pixels = (source.num_views, len(source.reader.rows)), source.reader.pixels
    arrays: dict[str, tuple[tuple[int, ...], str]] = {LOGITS: ((*shape, *logits_shape), "<f2")}
    if math.prod(shape) * math.prod(pixels.shape[1:]) * pixels.itemsize <= pixel_budget_bytes:
        arrays[PIXELS] = ((*shape, *pixels.shape[1:]), pixels.dtype.str)

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
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError("the teacher bank: GPU memory ran out; end what else uses the GPU") from None


def _build(
    place: Path, identity: Mapping[str, Any], source: BankSource, arrays: Arrays, progress: ProgressCallback | None
) -> Bank:
    """Where GPU memory runs out, the bank is begun again with half the views in a batch, and its record says so."""
    for name in arrays:
        _MAPS.pop((str(place), name), None)  # of the damaged bank that this one replaces
    layout = {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in arrays.items()}
    while True:
        settings = {**identity, "batch_size": source.views_at_once, "arrays": layout}
        try:
            record = {**settings, "files": build(place, settings, source, arrays, progress)}
            break
        except RuntimeError as error:
            if not is_out_of_memory(error) or source.views_at_once == 1:
                raise
        release_memory()
        source = replace(source, batch_size=source.views_at_once // 2)
        print(
            f"GPU memory ran out; the teacher is asked about {source.views_at_once} views at once",
            file=sys.stderr,
            flush=True,
        )
    write_json(place / RECORD, record)
    (place / PROGRESS).unlink(missing_ok=True)
    return _bank(place, record)


def _identity(source: BankSource, data_key: str) -> dict[str, Any]:
    """JSON values that decide a bank's content.

    The pixels of a few views stand for all: if the augmentation's code or a library under it gives other pixels than
    before, the old bank is not used.
    """
    teacher, reader = source.teacher, source.reader
    random = np.random.default_rng(0)
    positions = random.integers(len(reader.rows), size=_NUM_SAMPLED_VIEWS)
    sampled = reader.read(positions, random.integers(source.num_views, size=_NUM_SAMPLED_VIEWS))
    return {
        "format": FORMAT,
        "views_version": VIEWS_VERSION,
        "teacher": teacher.key,
        "models": [member.settings.get("model") for member in teacher.members],
        "image_sizes": [member.settings.get("image_size") for member in teacher.members],
        "data": data_key,
        "augmentation": f"{reader.augment.__module__}.{reader.augment.__qualname__} {reader.augmentation}",  # type: ignore[attr-defined]
        "seed": reader.seed,
        "num_views": source.num_views,
        "shape": list(reader.pixels.shape[1:]),
        "precision": str(source.device.autocast_dtype),
        "sampled_views_crc32": zlib.crc32(sampled.tobytes()),
    }


def _open(place: Path, identity: Mapping[str, Any]) -> Bank | None:
    """The bank in `place` if it has this identity and no byte has changed, else None."""
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
    has_gaps = bool(np.isnan(np.load(place / LOGITS, mmap_mode="r")).any())
    return Bank(place, record["num_views"], PIXELS in record["arrays"], has_gaps)
