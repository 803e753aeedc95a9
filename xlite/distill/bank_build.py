"""Fills a teacher bank: batch by batch, durable block by block, continued after an interruption.

Data is written, then `fdatasync`ed, and only then recorded in `progress.json` with its size and CRC-32; once all of it
is there, the caller writes the record that makes the bank complete.
"""

import math
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xlite.console import ProgressCallback
from xlite.cores import available_cpus
from xlite.data.batches import Draw, ViewReader
from xlite.device import Device, torch_threads
from xlite.distill.teacher import Teacher
from xlite.errors import InputError
from xlite.storage.arrays import check_disk_space, data_bytes, npy_header, open_descriptor, sync_data, write_at
from xlite.storage.files import read_json, write_json
from xlite.storage.locks import LOCK

LOGITS, PIXELS = "logits.npy", "pixels.npy"
RECORD, PROGRESS = "bank.json", "progress.json"
BATCH_SIZES = {"cpu": 64, "cuda": 256}
"""Images in a batch for the teacher: on a CPU as many as a core's cache holds."""
Arrays = Mapping[str, tuple[tuple[int, ...], str]]  # file name -> shape and type, as in a .npy header
Batch = TypeVar("Batch")
Answer = TypeVar("Answer")
State = tuple[int, int]  # of a file: bytes, and their CRC-32

_COMMIT_BYTES, _COMMIT_S = 64 * 2**20, 2.0  # an interruption loses at most about this much
_READ_BYTES = 4 * 2**20


@dataclass(frozen=True)
class BankSource:
    """Where a bank's content comes from.

    Attributes:
        batch_size: views in a batch for the teacher; None: `BATCH_SIZES`, a stack of slices counts as many. It can
            change the last bits of an answer, so a bank is continued and checked in the batches it was begun in, and
            begun again where they turn out to be too large.
    """

    teacher: Teacher
    reader: ViewReader
    device: Device
    num_views: int
    batch_size: int | None = None

    @property
    def views_at_once(self) -> int:
        """Views in a batch."""
        images = BATCH_SIZES[self.device.torch_device.type]
        return self.batch_size or max(1, images // self.teacher.input_spec.num_slices)

    def batches(self) -> list[Draw]:
        """All views in the bank's order, view by view; no batch holds two views of a row."""
        num_rows, size = len(self.reader.rows), self.views_at_once
        return [
            Draw(positions := np.arange(start, min(start + size, num_rows)), np.full(len(positions), view))
            for view in range(self.num_views)
            for start in range(0, num_rows, size)
        ]

    def images(self, batch: Draw) -> np.ndarray:
        """Pixels (B, *shape) of a batch, as a trial sees them."""
        return self.reader.read(batch.positions, batch.views)

    def answer(self, batch: Draw, images: np.ndarray) -> np.ndarray:
        """The live teacher's logits (B, ..., L)."""
        rows, auxiliary = self.reader.rows[batch.positions], self.reader.auxiliary_of(batch.positions)
        return self.teacher.answer(images, auxiliary, rows, device=self.device)


def build(
    place: Path,
    settings: Mapping[str, Any],
    source: BankSource,
    arrays: Arrays,
    progress: ProgressCallback | None = None,
) -> dict[str, State]:
    """Write the files of `arrays` in `place`, or the rest of them. The caller holds the lock of `place`.

    Args:
        settings: JSON values that decide every byte; what was begun with others is discarded.
        progress: called with (views done, views) after every batch.

    Returns:
        file name -> its bytes and their CRC-32.

    Raises:
        InputError: not enough free disk, or the teacher's answers do not fit half precision.
        OSError: `place` cannot be written.
    """
    batches = source.batches()
    num_total = sum(len(batch.positions) for batch in batches)
    num_done, states = _durable(place, settings, arrays)
    if num_done == 0:
        clear(place)
    for left_over in place.glob(".*.tmp"):
        left_over.unlink()
    done_bytes = sum((place / name).stat().st_size for name in arrays if (place / name).exists())
    check_disk_space(place, sum(data_bytes(*array) for array in arrays.values()) - done_bytes, "teacher bank")
    with ExitStack() as stack:
        files = {}
        for name, array in arrays.items():
            descriptor = stack.enter_context(open_descriptor(place / name, os.O_RDWR | os.O_CREAT))
            files[name] = _GrowingFile(descriptor, *states.get(name, (0, 0)))
            files[name].begin(npy_header(*array))
        todo = batches[sum(end <= num_done for end in np.cumsum([len(batch.positions) for batch in batches])) :]
        block = _Block(place, settings, files, num_total)
        try:
            for batch, images, answer in _answered(source, todo):
                contents = {LOGITS: _half(answer, arrays[LOGITS][0], place), PIXELS: images}
                for name, file in files.items():
                    file.append(contents[name].tobytes())
                num_done += len(batch.positions)
                block.commit_if_due(num_done)
                if progress is not None:
                    progress(num_done, num_total)
            block.commit(num_done)
        except OSError:
            if not (place / PROGRESS).exists():  # nothing to continue, and it may be what filled the disk
                with suppress(OSError):
                    clear(place)
            raise
    return {name: file.state() for name, file in files.items()}


def clear(place: Path) -> None:
    """Remove all of a bank but its lock; first the records, which must not list files that are gone.

    Files are unlinked, never emptied: another process may have them mapped.
    """
    names = {path.name for path in place.iterdir()} - {LOCK}
    for name in [RECORD, PROGRESS, *sorted(names)]:
        (place / name).unlink(missing_ok=True)


def crc32_of(path: Path, num_bytes: int) -> int | None:
    """CRC-32 of a file's first `num_bytes` bytes, or None if it has fewer; read, since a map could end in SIGBUS."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(_READ_BYTES))
        while num_bytes:
            got = file.readinto(buffer[: min(num_bytes, _READ_BYTES)])
            if not got:
                return None
            crc = zlib.crc32(buffer[:got], crc)
            num_bytes -= got
    return crc


def read_progress(place: Path) -> tuple[int, int]:
    """(views done, views) of a build in `place`; (0, 0) before its first block."""
    try:
        about = read_json(place / PROGRESS)
        return int(about["done"]), int(about["total"])
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return 0, 0


@dataclass
class _GrowingFile:
    """A file written from front to back: its size and the CRC-32 of its content."""

    descriptor: int
    num_bytes: int = 0
    crc32: int = 0

    def begin(self, header: bytes) -> None:
        os.ftruncate(self.descriptor, self.num_bytes)
        if self.num_bytes == 0:
            self.append(header)

    def append(self, data: bytes) -> None:
        write_at(self.descriptor, data, self.num_bytes)  # a full disk is then an OSError; in a map it would be a SIGBUS
        self.num_bytes, self.crc32 = self.num_bytes + len(data), zlib.crc32(data, self.crc32)

    def state(self) -> State:
        return self.num_bytes, self.crc32


@dataclass
class _Block:
    """Data not yet in `progress.json`; `commit` syncs it, then records it there."""

    place: Path
    settings: Mapping[str, Any]
    files: Mapping[str, _GrowingFile]
    num_total: int
    committed_bytes: int = 0
    committed_s: float = field(default_factory=time.monotonic)

    def commit_if_due(self, num_done: int) -> None:
        num_bytes = sum(file.num_bytes for file in self.files.values()) - self.committed_bytes
        if num_bytes >= _COMMIT_BYTES or time.monotonic() - self.committed_s >= _COMMIT_S:
            self.commit(num_done)

    def commit(self, num_done: int) -> None:
        for file in self.files.values():
            sync_data(file.descriptor)
        states = {name: file.state() for name, file in self.files.items()}
        about = {"meaning": dict(self.settings), "done": num_done, "total": self.num_total, "files": states}
        write_json(self.place / PROGRESS, about)
        self.committed_bytes = sum(file.num_bytes for file in self.files.values())
        self.committed_s = time.monotonic()


def _durable(place: Path, settings: Mapping[str, Any], arrays: Arrays) -> tuple[int, dict[str, State]]:
    """Views that an earlier build of the same bank made durable, and its files' states; (0, {}) to start again."""
    try:
        about = read_json(place / PROGRESS)
        num_done = int(about["done"])
        states = {name: (int(num_bytes), int(crc32)) for name, (num_bytes, crc32) in about["files"].items()}
        same = about["meaning"] == settings and states.keys() == arrays.keys()
        for name, (num_bytes, crc32) in states.items():
            view_bytes = data_bytes(*arrays[name]) // math.prod(arrays[name][0][:2])
            same = same and num_bytes == len(npy_header(*arrays[name])) + num_done * view_bytes
            same = same and crc32_of(place / name, num_bytes) == crc32
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):  # none, or damaged
        return 0, {}
    return (num_done, states) if same else (0, {})


def _answered(source: BankSource, batches: list[Draw]) -> Iterator[tuple[Draw, np.ndarray, np.ndarray]]:
    """Each batch with its images and the teacher's answers, in order."""

    def ask(batch: Draw) -> tuple[Draw, np.ndarray, np.ndarray]:
        images = source.images(batch)
        return batch, images, source.answer(batch, images)

    return side_by_side(ask, batches, source.device)


def side_by_side(ask: Callable[[Batch], Answer], batches: Iterable[Batch], device: Device) -> Iterator[Answer]:
    """What `ask` returns for each batch, in order.

    On a CPU each core has its own batch: sharing one loses 10 to 20%. On a GPU the next batch is augmented while the
    teacher answers this one.
    """
    num_threads = 2 if device.on_gpu else available_cpus()
    with torch_threads(1), ThreadPoolExecutor(num_threads) as pool:
        coming: deque[Future[Answer]] = deque()
        for batch in batches:
            coming.append(pool.submit(ask, batch))
            if len(coming) > num_threads:  # one more than threads, so that none is idle
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _half(answer: np.ndarray, shape: tuple[int, ...], place: Path) -> np.ndarray:
    """`answer` in half precision, NaN where the teacher says nothing."""
    assert answer.shape[1:] == shape[2:], (answer.shape, shape)
    with np.errstate(over="ignore"):
        half = answer.astype("<f2")
    if np.isinf(half).any():
        raise InputError(
            f"{place}: the teacher gives logits that are not finite in half precision "
            f"(from {np.nanmin(answer):g} to {np.nanmax(answer):g}); it cannot be distilled from"
        )
    return half
