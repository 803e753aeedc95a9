"""Databases of a study: which one it is, and what is said of one that cannot be used."""

from pathlib import Path

import pytest

from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url, study_storage
from xlite.storage.files import write_json


def test_looking_for_a_study_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study 's' in .*nothing.db; studies there: none"):
        Ledger.open(sqlite_url(tmp_path / "nothing.db"), "s", create=False)
    assert list(tmp_path.iterdir()) == []


def test_each_bad_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"this is no database at all" * 400)
    (tmp_path / "empty.db").touch()
    cases = {
        sqlite_url(tmp_path / "damaged.db"): "damaged.db: file is not a database; check that",
        sqlite_url(tmp_path / "no_folder" / "s.db"): "s.db: unable to open database file; check that",
        "study.db": "--storage: Could not parse",
        "nosql://host/db": "--storage: Can't load plugin",
        "oracle+cx_oracle://me:secret@host/db": r"//me:\*\*\*@host/db: No module named .*; pip install",
    }
    for url, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            Ledger.open(url, "s", create=True)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="studies there: none"):
        Ledger.open(sqlite_url(tmp_path / "empty.db"), "s", create=False)
    with pytest.raises(InputError, match=r"names ending in \.final or \.baseline are reserved"):
        Ledger.open(sqlite_url(tmp_path / "s.db"), "s.final", create=True)


@pytest.mark.parametrize("folder", ["with space", "grüße", "100%25", "a{b}", "#1", "what?"])
def test_a_results_folder_may_have_an_unusual_name(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with Ledger.open(sqlite_url(tmp_path / folder / "s.db"), "s", create=True):
        assert (tmp_path / folder / "s.db").exists()


def test_study_json_names_the_database(tmp_path: Path) -> None:
    assert study_storage(tmp_path) == sqlite_url(tmp_path / "study.db")
    write_json(tmp_path / "study.json", {"storage": "postgresql://host/db"})
    assert study_storage(tmp_path) == "postgresql://host/db"
