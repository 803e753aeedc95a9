"""The teacher bank: the teacher's logits for every (view, row), and the views' pixels where they fit, computed once."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.batches import ViewReader
from xlite.data.views import VIEWS_VERSION
from xlite.device import Device
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.files import read_json, write_json

FORMAT = 1
PIXEL_BUDGET_BYTES = 2 * 2**30
"""Up to this many bytes of augmented pixels are kept beside the logits, so that a trial augments nothing."""


@dataclass(frozen=True)
class Bank:
    """What trials read; cheap to pickle, mapped when first read in a process.

    Attributes:
        folder: holds `logits.npy` (V, R, ..., L) float16, perhaps `pixels.npy` (V, R, *shape), and `bank.json`.
        num_views: V. Epoch e shows view e mod V.
        has_pixels: whether the views' pixels are kept too.
    """

    folder: Path
    num_views: int
    has_pixels: bool

    def read(self, positions: np.ndarray, views: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Pixels (B, *shape) or None, and logits (B, ..., L) float32, of the asked-for views of training rows."""
        pixels = self._map("pixels.npy")[views, positions] if self.has_pixels else None
        return pixels, self._map("logits.npy")[views, positions].astype(np.float32)

    def _map(self, name: str) -> np.ndarray:
        key = (str(self.folder), name)
        if key not in _MAPS:
            _MAPS[key] = np.load(self.folder / name, mmap_mode="r")
        return _MAPS[key]


_MAPS: dict[tuple[str, str], np.ndarray] = {}


def open_or_build(
    teacher: Teacher,
    reader: ViewReader,
    *,
    extras: np.ndarray | None = None,
    data_key: str,
    num_views: int,
    logits_shape: tuple[int, ...],
    folder: Path,
    device: Device,
    pixel_budget_bytes: int = PIXEL_BUDGET_BYTES,
    batch_size: int = 256,
    progress: ProgressCallback | None = None,
) -> Bank:
    """The bank of this teacher over these views, computed unless a whole one lies in `folder` already.

    Args:
        extras: (R, E) of the training rows, or None.
        logits_shape: of one example: (L,), or (H, L).
        data_key: stands for the pixels and the training part, in order.
        folder: all banks live below it, one folder a key.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    identity = {
        "format": FORMAT,
        "views_version": VIEWS_VERSION,
        "teacher": teacher.key,
        "data": data_key,
        "augmentation": f"{reader.augment.__module__}.{reader.augment.__qualname__} {reader.augmentation}",  # type: ignore[attr-defined]
        "seed": reader.seed,
        "num_views": num_views,
        "shape": list(reader.pixels.shape[1:]),
        "precision": str(device.autocast_dtype),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    place = folder / key
    if reader.pixels.ndim == 5:
        batch_size = max(1, batch_size // reader.pixels.shape[1])  # of stacks: the backbone sees each of their slices
    pixel_bytes = num_views * len(reader.rows) * int(np.prod(reader.pixels.shape[1:])) * reader.pixels.itemsize
    with _locked(folder, key):
        bank = _open(place)
        if bank is not None:
            return bank
        builder = _Builder(
            teacher, reader, extras, num_views, logits_shape, pixel_bytes <= pixel_budget_bytes, device, batch_size
        )
        try:
            builder.write(place, identity, progress)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise InputError(f"{place}: the teacher bank could not be written ({error.strerror or error})") from None
    bank = _open(place)
    assert bank is not None
    return bank


@dataclass(frozen=True)
class _Builder:
    teacher: Teacher
    reader: ViewReader
    extras: np.ndarray | None
    num_views: int
    logits_shape: tuple[int, ...]
    with_pixels: bool
    device: Device
    batch_size: int

    def write(self, place: Path, identity: dict[str, object], progress: ProgressCallback | None) -> None:
        """Write the arrays by plain appends (a full disk is then an OSError, not a SIGBUS), `bank.json` last."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        num_rows, shape = len(self.reader.rows), self.reader.pixels.shape[1:]
        total = self.num_views * num_rows
        with (place / "logits.npy").open("wb") as logits, (place / "pixels.npy").open("wb") as pixels:
            _write_header(logits, (self.num_views, num_rows, *self.logits_shape), "<f2")
            _write_header(pixels, (self.num_views, num_rows, *shape), self.reader.pixels.dtype.str)
            done = 0
            for view in range(self.num_views):
                for start in range(0, num_rows, self.batch_size):
                    positions = np.arange(start, min(start + self.batch_size, num_rows))
                    images = self.reader.read(positions, np.full(len(positions), view))
                    extras = None if self.extras is None else self.extras[positions]
                    answer = self.teacher.logits(images, extras, device=self.device)
                    assert answer.shape[1:] == self.logits_shape, (answer.shape, self.logits_shape)
                    logits.write(answer.astype("<f2").tobytes())
                    if self.with_pixels:
                        pixels.write(images.tobytes())
                    done += len(positions)
                    if progress:
                        progress(done, total)
            for file in (logits, pixels):
                file.flush()
                os.fsync(file.fileno())
        if not self.with_pixels:
            (place / "pixels.npy").unlink()
        sizes = {file.name: file.stat().st_size for file in place.glob("*.npy")}
        write_json(place / "bank.json", {**identity, "sizes": sizes})


def _open(place: Path) -> Bank | None:
    """The bank in `place` if it is whole: a read past a truncated map would end the process by SIGBUS."""
    if not (place / "bank.json").exists():
        return None
    about = read_json(place / "bank.json")
    for name, size in about["sizes"].items():
        if not (place / name).is_file() or (place / name).stat().st_size != size:
            return None
    return Bank(place, about["num_views"], "pixels.npy" in about["sizes"])


def _write_header(file: object, shape: tuple[int, ...], dtype: str) -> None:
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    """One builder at a time; a second waits and then finds the bank."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
