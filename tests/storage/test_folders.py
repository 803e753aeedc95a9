"""A folder is tried before it is relied upon; sockets get a temporary folder whose path is short enough."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from xlite.errors import InputError
from xlite.storage.folders import check_folder, replace_folder, temporary_folder

Usage = namedtuple("Usage", "total used free")


def test_a_folder_that_can_be_made_is_not_made_and_nothing_is_left(tmp_path):
    check_folder(tmp_path / "a" / "b", "no")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "link"])
def test_a_place_that_cannot_be_written_is_one_line_with_the_fix(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError) as caught:
        check_folder(tmp_path / name, "name another with --results")
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written (")
    assert str(caught.value).endswith("); name another with --results")


def test_a_disk_that_is_nearly_full_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    with pytest.raises(InputError, match=r"its disk has 1\.0 MiB free; free some space, or name another$"):
        check_folder(tmp_path, "name another")


@pytest.fixture
def named(monkeypatch):
    """Sets TMPDIR, as a process finds it at its start."""

    def name(folder):
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)

    return name


def test_tmpdir_is_used_unless_sockets_need_a_shorter_path(named, tmp_path):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    named(long)
    assert temporary_folder() == long
    assert temporary_folder(76) == Path("/tmp")
    named("/var/tmp")
    assert temporary_folder(76) == Path("/var/tmp")


def test_a_folder_is_replaced_whole_or_stays(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "said").write_text(name)
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "none", tmp_path / "old")
    assert (tmp_path / "old" / "said").read_text() == "old"
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "said").read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_tmpdir_that_cannot_be_used_is_one_line(named, tmp_path):
    named(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^TMPDIR .*nowhere: no such folder; create it, or set TMPDIR to another$"):
        temporary_folder()
    named("/proc")
    with pytest.raises(InputError, match=r"^/proc: cannot be written \(.*\); set TMPDIR to a folder that can be"):
        temporary_folder(76)
