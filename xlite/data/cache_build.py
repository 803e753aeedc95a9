"""Fill a pixel cache's array: journaled, parallel over cores, safe to interrupt at any instant.

The order of events is what makes it safe: pixels are written, then `fdatasync`ed, then their rows are appended to the
journal; only when every row has been tried does the caller write the record that makes the cache complete.
"""

import json
import math
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
from xlite.data.decode import UnreadableImage
from xlite.data.preprocess import Preprocess
from xlite.data.table import Item
from xlite.storage.arrays import allocate, npy_header, opened, pixels_whole, write_at

PIXELS, JOURNAL = "pixels.npy", "journal.jsonl"
Read = Callable[[Item, Preprocess], np.ndarray]

Tried = dict[int, str | None]  # row -> why it failed, None when it is decoded

_TASK_ROWS = 8  # rows a thread takes at once: long against the overhead of a task
_COMMIT_ROWS, _COMMIT_S = 512, 3.0  # at most about this much is done again after an interruption
_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def read_item(item: Item, preprocess: Preprocess) -> np.ndarray:
    """What `build` calls for a row unless told otherwise."""
    return preprocess.read(item)


def read_journal(path: Path) -> tuple[Tried, int]:
    """The rows whose pixels are on the disk, and how many bytes of the journal are sound.

    A line cut short by an interruption does not count, nor does what comes after it.
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
    *,
    missing: dict[int, str],
    preprocess: Preprocess,
    read: Read,
    num_threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[dict[int, str], dict[int, str]]:
    """Decode every row that the journal lacks into `folder`'s pixels. Only one process at a time may call it.

    Args:
        missing: row -> reason, for files known not to be there; they are not tried.
        read: raises UnreadableImage for a file that will never decode, OSError for one that cannot be read today.
        num_threads: default: the cores this process may use.
        progress: told (rows tried, rows) every few rows.

    Returns:
        (failures, unread), both row -> reason; such rows are zeros. Unread ones met an OSError and are not in the
        journal, so the next build tries them again.

    Raises:
        InputError: not enough free disk.
        OSError: `folder` cannot be written.
    """
    shape = (len(items), *preprocess.shape)
    if not pixels_whole(folder / PIXELS, shape, preprocess.dtype):
        (folder / JOURNAL).unlink(missing_ok=True)  # first: it must never speak of pixels that are gone
        allocate(folder / PIXELS, shape, preprocess.dtype)
    tried, journal_bytes = read_journal(folder / JOURNAL)
    tried.update(missing)
    unread: dict[int, str] = {}
    todo = [row for row in range(len(items)) if row not in tried]
    with opened(folder / PIXELS, os.O_RDWR) as pixels, (folder / JOURNAL).open("ab") as journal:
        journal.truncate(journal_bytes)
        chunks = _Chunks(pixels, journal)

        def take(decoded: Tried, not_read: dict[int, str]) -> None:
            chunks.add(decoded)
            tried.update(decoded)
            unread.update(not_read)
            if progress is not None:
                progress(len(tried) + len(unread), len(items))

        take({}, {})
        filler = _Filler(pixels, shape, items, preprocess, read, threading.Event())
        _fill_in_threads(filler, todo, num_threads or available_cpus(), take)
        chunks.commit()
    return {row: reason for row, reason in tried.items() if reason is not None}, unread


class _Chunks:
    """Rows written but not yet promised; `commit` syncs their pixels, then promises them in the journal."""

    def __init__(self, pixels: int, journal: BinaryIO) -> None:
        self._pixels, self._journal = pixels, journal
        self._rows: Tried = {}
        self._committed_s = time.monotonic()

    def add(self, rows: Tried) -> None:
        self._rows.update(rows)
        if len(self._rows) >= _COMMIT_ROWS or time.monotonic() - self._committed_s >= _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        rows, self._rows = self._rows, {}
        if rows:
            _sync_data(self._pixels)
            failures = {row: reason for row, reason in rows.items() if reason is not None}
            entry = {"rows": sorted(rows.keys() - failures.keys()), "failures": failures}
            self._journal.write(json.dumps(entry).encode() + b"\n")
            self._journal.flush()
            _sync_data(self._journal.fileno())
        self._committed_s = time.monotonic()


@dataclass(frozen=True)
class _Filler:
    """What a thread needs to decode rows and write them; `stop` makes it give up between two rows."""

    pixels: int
    shape: tuple[int, ...]
    items: Sequence[Item]
    preprocess: Preprocess
    read: Read
    stop: threading.Event

    def fill(self, rows: Sequence[int]) -> tuple[Tried, dict[int, str]]:
        decoded: Tried = {}
        unread: dict[int, str] = {}
        dtype = np.dtype(self.preprocess.dtype)
        start, row_bytes = len(npy_header(self.shape, dtype.str)), math.prod(self.shape[1:]) * dtype.itemsize
        for row in rows:
            if self.stop.is_set():
                break
            try:
                image = self.read(self.items[row], self.preprocess)
            except UnreadableImage as error:
                decoded[row] = error.reason
            except OSError as error:
                unread[row] = f"cannot be read ({error.strerror or error})"
            else:
                assert image.shape == self.shape[1:] and image.dtype == dtype, (image.shape, image.dtype)
                write_at(self.pixels, image.tobytes(), start + row * row_bytes)
                decoded[row] = None
        return decoded, unread


def _fill_in_threads(
    filler: _Filler, todo: Sequence[int], num_threads: int, take: Callable[[Tried, dict[int, str]], None]
) -> None:
    """Fill all of `todo`, giving each finished task's result to `take` in this thread.

    Whatever is raised here or in a thread (Ctrl-C, a full disk) is raised after at most one more image per thread.
    """
    tasks = (todo[start : start + _TASK_ROWS] for start in range(0, len(todo), _TASK_ROWS))
    pending: set[Future[tuple[Tried, dict[int, str]]]] = set()
    with _single_threaded_cv2(), ThreadPoolExecutor(num_threads) as pool:
        try:
            pending = {pool.submit(filler.fill, task) for task in islice(tasks, 2 * num_threads)}
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(filler.fill, task) for task in islice(tasks, len(finished))}
                for future in finished:
                    take(*future.result())
        finally:
            filler.stop.set()
            for future in pending:
                future.cancel()


@contextmanager
def _single_threaded_cv2() -> Iterator[None]:
    """Images are spread over threads here; OpenCV's own threads inside each image would only get in the way."""
    previous = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(previous)
