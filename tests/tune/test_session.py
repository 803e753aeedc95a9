"""The folder of Ray's session: private, short enough for sockets, gone afterwards, also after everything was killed."""

import stat

import pytest

from xlite.storage.locks import locked
from xlite.tune import session
from xlite.tune.session import PREFIX, RAY, TOKEN, session_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "session_place", lambda: tmp_path)
    return tmp_path


def test_it_is_private_and_gone_afterwards_with_all_it_holds(place):
    with session_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / TOKEN).stat().st_mode) == 0o600
        assert len((folder / TOKEN).read_text()) == 64
        (folder / "session_latest").mkdir()
    assert list(place.iterdir()) == []


def test_its_sockets_have_paths_that_every_system_takes(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with session_folder() as folder:
        below = f"{RAY}/session_2026-01-31_12-30-59_123456_1234567/sockets/plasma_store"
        assert len(f"{folder}/{below}") <= 103


def abandoned(place, name, *, token=True):
    folder = place / name
    folder.mkdir()
    if token:
        (folder / TOKEN).touch()
    return folder


def test_only_what_an_ended_process_left_is_removed(place):
    dead, held = abandoned(place, f"{PREFIX}dead"), abandoned(place, f"{PREFIX}held")
    new = abandoned(place, f"{PREFIX}new", token=False)  # between its making and its lock
    with locked(held, waiting=None), session_folder():
        assert [folder.exists() for folder in (dead, held, new)] == [False, True, True]
