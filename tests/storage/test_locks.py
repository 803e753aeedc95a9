"""Locks: one holder at a time, free as soon as the holder ends, however it ends; the file itself means nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xlite.errors import InputError
from xlite.storage.locks import LOCK, locked, try_lock

HOLD = """
import sys, time
from pathlib import Path
from xlite.storage.locks import locked
with locked(Path(sys.argv[1]), waiting=None):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_or_waits_until_the_first_is_done(tmp_path: Path) -> None:
    first = try_lock(tmp_path / LOCK)
    assert first is not None
    with pytest.raises(BlockingIOError), locked(tmp_path, waiting=None):
        pass
    waited = []

    def waiting() -> None:
        waited.append(1)
        if len(waited) == 3:
            first.release()

    with locked(tmp_path, waiting=waiting):
        assert len(waited) == 3 and try_lock(tmp_path / LOCK) is None


def test_a_killed_holder_s_lock_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert try_lock(tmp_path / LOCK) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path, waiting=None):
        pass


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = try_lock(tmp_path / LOCK)
    assert lock is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False):
        lock.release()
        assert try_lock(tmp_path / LOCK) is not None


def test_a_file_system_without_locks_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"lock: no file can be locked there \(Operation not supported\); use a place"):
        try_lock(tmp_path / LOCK)


def test_a_lock_file_left_behind_means_nothing_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("of an older version")
    with locked(tmp_path, waiting=None):
        pass
    assert (tmp_path / LOCK).read_text() == "of an older version"


def test_a_folder_that_is_removed_while_waiting_is_created_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = try_lock(folder / LOCK)
    assert first is not None

    def waiting() -> None:
        (folder / LOCK).unlink()
        folder.rmdir()
        first.release()

    with locked(folder, waiting=waiting):
        assert try_lock(folder / LOCK) is None
