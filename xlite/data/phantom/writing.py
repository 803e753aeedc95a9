"""Writes a phantom data set atomically, by one process at a time, or finds it already written."""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xlite.errors import InputError
from xlite.storage.files import read_json, write_json
from xlite.storage.locks import locked_file

RECORD = "phantom.json"


def check_minimum(parameters: Mapping[str, int], **minimum: int) -> None:
    """Raise InputError unless each named parameter is at least its minimum."""
    for name, least in minimum.items():
        if parameters[name] < least:
            raise InputError(f"phantom: {name} is {parameters[name]}; use {least} or more")


def write_once(folder: Path, parameters: Mapping[str, int], write: Callable[[Path], None]) -> None:
    """Create `folder` atomically, filled by `write`, unless it exists already.

    Args:
        folder: its parents are created.
        parameters: of the data set; stored in it, and compared if it exists already.
        write: fills the folder that it is given.

    Raises:
        InputError: `folder` holds something else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _sole_writer(folder):
        if _is_written(folder, parameters):
            return
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            write(temporary)
            write_json(temporary / RECORD, dict(parameters))
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_written(folder: Path, parameters: Mapping[str, int]) -> bool:
    if not folder.exists():
        return False
    if not (folder / RECORD).is_file() or read_json(folder / RECORD) != parameters:
        raise InputError(f"{folder}: holds something other than this phantom; use another folder or remove it")
    return True


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, waiting for it; files left by a killed process are removed."""
    with locked_file(folder.with_name(f".{folder.name}.lock"), waiting=lambda: None):
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover)
        yield
