"""Fills a pixel cache's array in parallel, with a journal to resume from after an interruption at any point.

Pixels are written, then synced, and only then are their rows appended to the journal; once every row has been tried,
the caller writes the record that makes the cache complete.
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

PIXELS, JOURNAL = "pixels.npy", "journal.jsonl"

Tried = dict[int, str | None]  # row -> reason of the failure, None where the row was decoded
Unread = dict[int, str]  # row -> reason, for rows to try again in the next build

_TASK_ROWS = 8  # rows a thread takes at once, so that a task takes long compared to its overhead
_COMMIT_ROWS, _COMMIT_S = 512, 3.0  # an interruption loses at most about this much work
_FREE_MARGIN = 1.05


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
    """Decode the rows that are not in the journal yet into `folder`'s pixels. The caller holds the folder's lock.

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
    tried.update(missing)
    unread: Unread = {}
    todo = [row for row in range(len(items)) if row not in tried]
    with open_descriptor(folder / PIXELS, os.O_RDWR) as pixels, (folder / JOURNAL).open("ab") as journal:
        journal.truncate(journal_bytes)
        uncommitted = _Uncommitted(pixels, journal)

        def collect(decoded: Tried, not_read: Unread) -> None:
            uncommitted.add(decoded)
            tried.update(decoded)
            unread.update(not_read)
            if progress is not None:
                progress(len(tried) + len(unread), len(items))

        collect({}, {})
        filler = _Filler(pixels, shape, items, preprocess, threading.Event())
        _fill_in_threads(filler, todo, num_threads or available_cpus(), collect)
        uncommitted.commit()
    return {row: reason for row, reason in tried.items() if reason is not None}, unread


class _Uncommitted:
    """Rows that are written but not in the journal; `commit` syncs their pixels, then appends them to it."""

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
            sync_data(self._pixels)
            failures = {row: reason for row, reason in rows.items() if reason is not None}
            entry = {"rows": sorted(rows.keys() - failures.keys()), "failures": failures}
            self._journal.write(json.dumps(entry).encode() + b"\n")
            self._journal.flush()
            sync_data(self._journal.fileno())
        self._committed_s = time.monotonic()


@dataclass(frozen=True)
class _Filler:
    """Decodes rows and writes them, in any thread, until `stop` is set."""

    pixels: int
    shape: tuple[int, ...]
    items: Sequence[Item]
    preprocess: Preprocess
    stop: threading.Event

    def fill(self, rows: Sequence[int]) -> tuple[Tried, Unread]:
        decoded: Tried = {}
        unread: Unread = {}
        dtype = np.dtype(self.preprocess.input_spec.dtype)
        start, row_bytes = len(npy_header(self.shape, dtype.str)), math.prod(self.shape[1:]) * dtype.itemsize
        for row in rows:
            if self.stop.is_set():
                break
            try:
                image = self.preprocess.read(self.items[row])
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
