"""Files that are never seen half-written: a temporary neighbour, fsync, rename. JSON, CSV and safe names."""

import csv
import errno
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xlite.errors import InputError

ROOM_PATIENCE_S = 600.0
"""How long a run waits for room on a full disk."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path` in one step, on error it is removed."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs only what is open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def double_buffered_write(path: Path) -> Iterator[Path]:
    """As `replacing`, for a file that is written again and again: what it replaces stays as `spares_of(path)[0]`.

    The next time that one is given out to be written over. A file that is replaced for good frees its blocks, and on a
    disk that is told of each (mount option discard) that takes longer than the writing.
    """
    spare, kept = spares_of(path)
    kept.unlink(missing_ok=True)  # of a process that was killed below
    if spare.exists() and spare.stat().st_nlink > 1:  # somebody linked the file that this was, as a backup
        spare.unlink()
    try:
        yield spare
        _sync(spare)
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # there is none yet, or this file system has no links
        os.link(path, kept)
    spare.replace(path)
    if kept.exists():
        kept.replace(spare)


def spares_of(path: Path) -> tuple[Path, Path]:
    """What `taking_turns` leaves beside `path`, and what a process killed in it may leave."""
    return path.with_name(f".{path.name}.spare"), path.with_name(f".{path.name}.kept")


def wait_for_room(folder: Path, num_bytes: int, *, patience_s: float = ROOM_PATIENCE_S) -> None:
    """Return once the disk of `folder` has room for `num_bytes`; a full disk may be freed before anything is lost.

    Raises:
        OSError: (ENOSPC) it has not within `patience_s`.
    """
    until = time.monotonic() + patience_s
    while shutil.disk_usage(folder).free < num_bytes:
        if time.monotonic() > until:
            raise OSError(errno.ENOSPC, f"no room for {num_bytes / 1e6:.0f} MB within {patience_s:.0f} s", str(folder))
        time.sleep(min(1.0, patience_s))


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: a reader in another language could not parse it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a file that is missing, no file, or cut short is an InputError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8, and numbers of thousands of digits
        raise InputError(f"{path}: not valid JSON ({error}); restore it or delete it") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read JSON that is an object; anything else is an InputError as in `read_json`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON {type(value).__name__}, not an object; restore it or delete it")
    return value


def csv_text(rows: Iterable[Sequence[object]], *, neutral: bool = False) -> str:
    """Rows as CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front, see `plain_cell`.

    Numbers stay numbers, be they negative: what is to be one is given as one, not as text.

    Args:
        neutral: the cells are `safe_cell`s and formatted numbers already.
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        cells = [safe_cell(cell) if isinstance(cell, str) and not neutral else cell for cell in row]
        csv.writer(line, lineterminator="\r\n").writerow(cells)  # it quotes what its line ends hold, so also a lone \r
        lines.append(line.getvalue().removesuffix("\r\n"))
    return "".join(f"{line}\n" for line in lines)


def is_plain(text: str) -> bool:
    """Whether `text` holds nothing that a terminal obeys or that changes lines or the direction of writing."""
    return _OBEYED.search(text) is None


def visible(text: str) -> str:
    """`text` with what is not plain written as an escape such as \\x1b."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printable(text: str) -> str:
    """The same on one line."""
    return visible(" ".join(text.split()))


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula; text that begins with an apostrophe gets a second one."""
    return "'" + text if text.startswith((*_FORMULA_STARTS, "'")) else text


def plain_cell(cell: str) -> str:
    """What `safe_cell` was given."""
    return cell.removeprefix("'")


def checked_name(name: str, what: str) -> str:
    """Return `name` if it is safe as a folder name, else raise InputError (`what`: e.g. "study name")."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r}: use letters, digits, '.', '_' and '-' only, starting with a letter or digit, at most 128"
        )
    return name
