"""The pixel cache: all preprocessed images of a data set in one memory-mapped array, under a key of its inputs."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.cache_build import HASHES, JOURNAL, PIXELS, build, has_hashes, hashes_of_rows, read_journal
from xlite.data.preprocess import Preprocess, parameters
from xlite.data.table import Item
from xlite.errors import InputError
from xlite.storage.arrays import is_complete_npy
from xlite.storage.files import read_json, write_json
from xlite.storage.locks import LOCK, locked

RECORD = "cache.json"
_KEY = re.compile(r"[0-9a-f]{32}")
_CACHE_FILES = re.compile(
    r"pixels\.npy|hashes\.npy|journal\.jsonl|cache\.json|lock|\.(cache\.json|hashes\.npy)\.[0-9a-f]{8}\.tmp"
)


@dataclass(frozen=True)
class PixelCache:
    """A complete cache. Pickled as its path, never as its pixels.

    Attributes:
        path: its folder; the folder's name is the key.
        pixels: (N, *preprocess.shape), memory-mapped, read-only; rows in the order of the ids.
        ok: (N,) bool, False where the image is missing or unreadable; such rows are zeros.
        failures: id -> reason, for the rows that are not ok.
    """

    path: Path
    pixels: np.memmap
    ok: np.ndarray
    failures: dict[str, str]

    @property
    def key(self) -> str:
        """32 hex digits that stand for the content."""
        return self.path.name

    def hashes(self) -> np.ndarray:
        """(N, 2) uint64: each row's `PictureHashes`; 0 in rows that are not ok.

        For a read-only cache that an earlier version made they are computed from its pixels.
        """
        if has_hashes(self.path, len(self.ok)):
            return np.where(self.ok[:, None], np.load(self.path / HASHES), np.uint64(0))
        return hashes_of_rows(self.pixels, np.flatnonzero(self.ok).tolist())

    def __reduce__(self) -> tuple[object, ...]:
        return _map, (self.path, self.ok, self.failures)


def open_or_build(
    items: Sequence[Item],
    ids: np.ndarray,
    *,
    cache_dir: Path,
    preprocess: Preprocess,
    num_threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> PixelCache:
    """Open the cache of exactly these files and parameters in `cache_dir`; build or finish it first if needed.

    Opening a complete cache costs one `stat` per file. An interrupted build is resumed; while another process builds
    the same cache, this one waits for it. Rows that met an OSError last time are tried again. A cache made before
    there were hashes gets those of its pixels, without decoding a file.

    Args:
        items: N raw inputs, in row order; N is at least 1.
        ids: (N,) unique names of the rows.
        num_threads: of the decoding; default: the cores this process may use.
        progress: called with (rows tried, N) while building or waiting.

    Raises:
        InputError: `cache_dir` cannot be written, or has too little free disk.
    """
    assert len(items) == len(ids) > 0, (len(items), len(ids))
    stats, missing = _scan(items)
    folder = cache_dir.absolute() / _key(ids, items, stats, preprocess)
    record = _complete_record(folder)
    if record is None or _lacks_rows(folder, record):
        try:
            with locked(folder, waiting=lambda: _report_journal(folder, progress, len(items))):
                record = _complete_record(folder)
                if record is None:  # one of pixels that are gone would call the new ones complete from the start
                    (folder / RECORD).unlink(missing_ok=True)
                if record is None or _lacks_rows(folder, record):
                    failures, unread = build(folder, items, missing, preprocess, num_threads, progress)
                    record = _write_record(folder, ids, preprocess, failures, unread)
        except OSError as error:
            # Else only unread rows or hashes are missing, e.g. in a read-only folder: use it as it is.
            if record is None:
                raise InputError(
                    f"{folder}: the pixel cache cannot be written ({error.strerror or error}); "
                    "fix that or use another --cache-dir"
                ) from error
    failures = record["failures"]
    return _map(folder, np.array([name not in failures for name in ids.tolist()], dtype=bool), failures)


def remove_unused(cache_dir: Path, *, keep: Set[str]) -> list[tuple[Path, int]]:
    """Remove the caches in `cache_dir`, complete or not, whose key is not in `keep` and which nobody is building.

    A folder that holds any other file than a cache's is left.

    Returns:
        The removed caches: (folder, bytes it took on disk).

    Raises:
        InputError: a folder cannot be removed.
    """
    removed = []
    for folder in sorted(cache_dir.iterdir()) if cache_dir.is_dir() else []:
        if folder.name in keep or (num_bytes := _cache_bytes(folder)) is None:
            continue
        try:
            with locked(folder, waiting=None):
                # The record goes first, so that an interrupted removal leaves no complete cache; the lock's file goes
                # last, since others may be waiting for it.
                names = {path.name for path in folder.iterdir()} - {LOCK}
                for name in [RECORD, *sorted(names - {RECORD}), LOCK]:
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()
        except BlockingIOError:
            continue
        except OSError as error:
            raise InputError(f"{folder}: cannot be removed ({error.strerror or error}); remove it by hand") from error
        removed.append((folder, num_bytes))
    return removed


def _scan(items: Sequence[Item]) -> tuple[np.ndarray, dict[int, str]]:
    """(F, 2) int64 size and mtime in ns of every file, -1 where it is missing, and row -> reason for missing ones."""
    stats: list[tuple[int, int]] = []
    known: dict[Path, tuple[int, int]] = {}  # windows of one scan share its file, levels of one series too
    missing: dict[int, str] = {}
    for row, item in enumerate(items):
        for path in item.paths:
            if path not in known:
                try:
                    found = os.stat(path)  # noqa: PTH116  half the cost of Path.stat, over 100,000 files
                except OSError as error:
                    missing[row] = f"cannot be found ({error.strerror})"
                    stats.append((-1, -1))
                    continue
                known[path] = found.st_size, found.st_mtime_ns
            stats.append(known[path])
    return np.array(stats, dtype="<i8"), missing


def _key(ids: np.ndarray, items: Sequence[Item], stats: np.ndarray, preprocess: Preprocess) -> str:
    """32 hex digits of the SHA-256 over the parameters and every row's (id, detail, sizes, mtimes), in order.

    For rows with several files the names count too: the slices of a series often have the same size.
    """
    digest = hashlib.sha256(json.dumps(parameters(preprocess), sort_keys=True).encode())
    digest.update("\0".join(["", *ids.tolist(), ""]).encode())
    digest.update("\0".join(["", *(item.detail for item in items), ""]).encode())
    digest.update("\0".join(path.name for item in items for path in item.paths if len(item.paths) > 1).encode())
    digest.update(stats.tobytes())
    return digest.hexdigest()[:32]


def _lacks_rows(folder: Path, record: dict[str, Any]) -> bool:
    """Whether rows of a complete cache are to be read again, or it has no hashes."""
    return bool(record["unread"]) or not has_hashes(folder, record["num_images"])


def _complete_record(folder: Path) -> dict[str, Any] | None:
    """The record of a cache, None unless it is complete and its pixel file has the right size."""
    try:
        record = read_json(folder / RECORD)
        shape, dtype = tuple(record["shape"]), record["dtype"]
        complete = record["key"] == folder.name and is_complete_npy(folder / PIXELS, shape, dtype)
    except (InputError, OSError, KeyError, TypeError):  # none yet, or damaged: the next build writes it again
        return None
    return record if complete else None


def _write_record(
    folder: Path, ids: np.ndarray, preprocess: Preprocess, failures: dict[int, str], unread: dict[int, str]
) -> dict[str, Any]:
    record = {
        "key": folder.name,
        "preprocess": parameters(preprocess),
        "num_images": len(ids),
        "shape": [len(ids), *preprocess.input_spec.shape],
        "dtype": preprocess.input_spec.dtype,
        "failures": {str(ids[row]): reason for row, reason in sorted((failures | unread).items())},
        "unread": [str(ids[row]) for row in sorted(unread)],
        "sizes": {PIXELS: (folder / PIXELS).stat().st_size},
    }
    write_json(folder / RECORD, record)
    return record


def _map(folder: Path, ok: np.ndarray, failures: dict[str, str]) -> PixelCache:
    return PixelCache(folder, np.load(folder / PIXELS, mmap_mode="r"), ok, failures)


def _report_journal(folder: Path, progress: ProgressCallback | None, num_images: int) -> None:
    if progress is not None:
        progress(len(read_journal(folder / JOURNAL)[0]), num_images)


def _cache_bytes(folder: Path) -> int | None:
    """Bytes of a cache on disk; None if `folder` is none: its name is no key, or it holds anything but a cache's files.

    Links are never followed.
    """
    if not _KEY.fullmatch(folder.name) or folder.is_symlink():
        return None
    try:
        found = {path.name: path.lstat() for path in folder.iterdir()}
    except OSError:  # a regular file, not readable, or just removed
        return None
    if not all(_CACHE_FILES.fullmatch(name) and stat.S_ISREG(entry.st_mode) for name, entry in found.items()):
        return None
    return sum(512 * entry.st_blocks for entry in found.values())
