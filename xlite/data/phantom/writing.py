"""Phantom data sets are written whole or not at all, by one process, and found again by what they were made with."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xlite.errors import InputError
from xlite.storage.files import read_json, write_json
from xlite.storage.locks import locked_file

RECORD = "phantom.json"


def write_once(folder: Path, wanted: Mapping[str, int], write: Callable[[Path], None]) -> None:
    """Have `write` fill a new folder, which appears as `folder` in one step; one that is there already is left alone.

    Args:
        wanted: what the set is made with; stored beside it, and compared when it is met again.

    Raises:
        InputError: `folder` holds something else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _sole_writer(folder):
        if _is_written(folder, wanted):
            return
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            write(temporary)
            write_json(temporary / RECORD, dict(wanted))
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_written(folder: Path, wanted: Mapping[str, int]) -> bool:
    if not folder.exists():
        return False
    if not (folder / RECORD).is_file() or read_json(folder / RECORD) != wanted:
        raise InputError(f"{folder}: holds something other than this phantom; choose another folder or remove it")
    return True


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """One process at a time, the next waits; what a killed one left behind is removed."""
    with locked_file(folder.with_name(f".{folder.name}.lock"), waiting=lambda: None):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover)
        yield
