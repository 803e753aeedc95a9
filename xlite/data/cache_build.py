"""Fills a pixel cache's arrays in parallel, with a journal to resume from after an interruption at any point.

Pixels and hashes are written, then synced, and only then are their rows appended to the journal; once every row has
been tried, the caller writes the record that makes the cache complete.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from xlite.console import ProgressCallback
from xlite.cores import available_cpus
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.preprocess import Preprocess
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.storage.arrays import (
    allocate_npy,
    check_disk_space,
    data_bytes,
    is_complete_npy,
    npy_header,
    open_descriptor,
    sync_data,
    write_at,
)
from xlite.storage.files import atomic_write

PIXELS, HASHES, JOURNAL = "pixels.npy", "hashes.npy", "journal.jsonl"

Tried = dict[int, str | None]  # row -> reason of the failure, None where the row was decoded
Unread = dict[int, str]  # row -> reason, for rows to try again in the next build

_TASK_ROWS = 8  # rows a thread takes at once, so that a task takes long compared to its overhead
_COMMIT_ROWS, _COMMIT_S = 512, 3.0  # an interruption loses at most about this much work
_FREE_MARGIN = 1.05
_HASHES_DTYPE = "<u8"


def has_hashes(folder: Path, num_rows: int) -> bool:
    """Whether a cache's folder has the file of its hashes; those made before there were hashes do not."""
    return is_complete_npy(folder / HASHES, (num_rows, 2), _HASHES_DTYPE)


def hashes_of_rows(pixels: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """(N, 2) uint64: the hashes of the cached inputs `pixels` (N, ...) at `rows`, else 0.

    They are equal where those of the pictures are; a copy of another size or compression is found less often.
    """
    hashes = np.zeros((len(pixels), 2), dtype=_HASHES_DTYPE)
    for row in rows:
        hashes[row] = hashes_of(pixels[row])
    return hashes


def read_journal(path: Path) -> tuple[Tried, int]:
    """Read a journal up to the first line that is truncated or damaged.

    Returns:
        The rows whose pixels are on disk, and the number of valid bytes of the journal.
    """
    tried: Tried = {}
    num_bytes = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            break
        tried.update(dict.fromkeys(entry["rows"]))
        tried.update((int(row), reason) for row, reason in entry["failures"].items())
        num_bytes += len(line)
    return tried, num_bytes


def build(
    folder: Path,
    items: Sequence[Item],
    missing: dict[int, str],
    preprocess: Preprocess,
    num_threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[dict[int, str], Unread]:
    """Decode the rows that are not in the journal yet into `folder`'s arrays. The caller holds the folder's lock.

    Rows that an earlier version cached without hashes get those of their cached pixels.

    Args:
        missing: row -> reason, for rows whose files do not exist; they are not tried.
        num_threads: default: the cores this process may use.
        progress: called with (rows tried, rows) every few rows.

    Returns:
        (failures, unread), both row -> reason; such rows are zeros. Unread ones met an OSError and are not in the
        journal, so the next build tries them again.

    Raises:
        InputError: not enough free disk.
        OSError: `folder` cannot be written.
    """
    spec = preprocess.input_spec
    shape = (len(items), *spec.shape)
    if not is_complete_npy(folder / PIXELS, shape, spec.dtype):
        (folder / JOURNAL).unlink(missing_ok=True)  # first: it must never list pixels that are gone
        (folder / PIXELS).unlink(missing_ok=True)  # not truncated: another process may have it mapped
        check_disk_space(folder.parent, _FREE_MARGIN * data_bytes(shape, spec.dtype), "pixel cache")
        allocate_npy(folder / PIXELS, shape, spec.dtype)
    tried, journal_bytes = read_journal(folder / JOURNAL)
    if not has_hashes(folder, len(items)):
        _write_hashes(folder, [row for row, reason in tried.items() if reason is None])
    tried.update(missing)
    unread: Unread = {}
    todo = [row for row in range(len(items)) if row not in tried]
    with (
        open_descriptor(folder / PIXELS, os.O_RDWR) as pixels,
        open_descriptor(folder / HASHES, os.O_RDWR) as hashes,
        (folder / JOURNAL).open("ab") as journal,
    ):
        journal.truncate(journal_bytes)
        arrays = _Arrays(pixels, hashes, shape, np.dtype(spec.dtype))
        uncommitted = _Uncommitted(arrays, journal)

        def collect(decoded: Tried, not_read: Unread) -> None:
            uncommitted.add(decoded)
            tried.update(decoded)
            unread.update(not_read)
            if progress is not None:
                progress(len(tried) + len(unread), len(items))

        collect({}, {})
        filler = _Filler(arrays, items, preprocess, threading.Event())
        _fill_in_threads(filler, todo, num_threads or available_cpus(), collect)
        uncommitted.commit()
    return {row: reason for row, reason in tried.items() if reason is not None}, unread


def _write_hashes(folder: Path, rows: Sequence[int]) -> None:
    """Create the file of the hashes, with those of the cached pixels at `rows`."""
    hashes = hashes_of_rows(np.load(folder / PIXELS, mmap_mode="r"), rows)
    with atomic_write(folder / HASHES) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, hashes, version=(1, 0))


@dataclass(frozen=True)
class _Arrays:
    """The open files of pixels, an array of `shape` and `dtype`, and of hashes."""

    pixels: int
    hashes: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def write(self, row: int, image: np.ndarray, hashes: PictureHashes) -> None:
        assert image.shape == self.shape[1:] and image.dtype == self.dtype, (image.shape, image.dtype)
        self._write_row(self.pixels, self.shape, image, row)
        self._write_row(self.hashes, (self.shape[0], 2), np.array(hashes, dtype=_HASHES_DTYPE), row)

    def _write_row(self, descriptor: int, shape: tuple[int, ...], values: np.ndarray, row: int) -> None:
        start = len(npy_header(shape, values.dtype.str))
        write_at(descriptor, values.tobytes(), start + row * values.nbytes)

    def sync(self) -> None:
        sync_data(self.pixels)
        sync_data(self.hashes)


class _Uncommitted:
    """Rows that are written but not in the journal; `commit` syncs their data, then appends them to it."""

    def __init__(self, arrays: _Arrays, journal: BinaryIO) -> None:
        self._arrays, self._journal = arrays, journal
        self._rows: Tried = {}
        self._committed_s = time.monotonic()

    def add(self, rows: Tried) -> None:
        self._rows.update(rows)
        if len(self._rows) >= _COMMIT_ROWS or time.monotonic() - self._committed_s >= _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        rows, self._rows = self._rows, {}
        if rows:
            self._arrays.sync()
            failures = {row: reason for row, reason in rows.items() if reason is not None}
            entry = {"rows": sorted(rows.keys() - failures.keys()), "failures": failures}
            self._journal.write(json.dumps(entry).encode() + b"\n")
            self._journal.flush()
            sync_data(self._journal.fileno())
        self._committed_s = time.monotonic()


@dataclass(frozen=True)
class _Filler:
    """Decodes rows and writes them, in any thread, until `stop` is set."""

    arrays: _Arrays
    items: Sequence[Item]
    preprocess: Preprocess
    stop: threading.Event

    def fill(self, rows: Sequence[int]) -> tuple[Tried, Unread]:
        decoded: Tried = {}
        unread: Unread = {}
        for row in rows:
            if self.stop.is_set():
                break
            try:
                image, hashes = self.preprocess.read_hashed(self.items[row])
            except UnreadableImage as error:
                decoded[row] = error.reason
            except OSError as error:
                unread[row] = f"cannot be read ({error.strerror or error})"
            else:
                self.arrays.write(row, image, hashes)
                decoded[row] = None
        return decoded, unread


def _fill_in_threads(
    filler: _Filler, todo: Sequence[int], num_threads: int, collect: Callable[[Tried, Unread], None]
) -> None:
    """Fill all rows of `todo`; `collect` is called in this thread with the result of each finished task.

    An exception here or in a thread (Ctrl-C, a full disk) propagates after at most one more image per thread.
    """
    tasks = (todo[start : start + _TASK_ROWS] for start in range(0, len(todo), _TASK_ROWS))
    pending: set[Future[tuple[Tried, Unread]]] = set()
    with _single_threaded_cv2(), ThreadPoolExecutor(num_threads) as pool:
        try:
            pending = {pool.submit(filler.fill, task) for task in islice(tasks, 2 * num_threads)}
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(filler.fill, task) for task in islice(tasks, len(finished))}
                for future in finished:
                    collect(*future.result())
        finally:
            filler.stop.set()
            for future in pending:
                future.cancel()


@contextmanager
def _single_threaded_cv2() -> Iterator[None]:
    """Turn OpenCV's threads off: each image has a thread already."""
    previous = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(previous)
