"""A study's folder and its database: where the one says the other is, whether they belong together, a copy made own."""

import shutil
from pathlib import Path

import pytest
from studies import NUM_TRIALS, content, drive, open_study, run_one

from xlite.errors import InputError
from xlite.ledger import (
    Ledger,
    StudyManifest,
    absolute_url,
    adopt,
    claim,
    open_to_read,
    pair,
    sqlite_url,
    storage_to_write,
    study_storage,
)
from xlite.ledger.manifest import amend_manifest, portable_url, write_manifest
from xlite.storage.files import read_json, write_json

SETTINGS = {"seed": 3, "data": "abc"}


def make(root: Path, url: str | None = None) -> str:
    """A study "s" in `root`, driven to its end, with a promotion's sister and a trial still running; its identity."""
    root.mkdir(parents=True)
    url = url or sqlite_url(root / "study.db")
    identity = pair(root, root, url, name="s", settings=SETTINGS)
    write_manifest(
        root, root, {"name": "s", "identity": identity, "storage": portable_url(url, root), "meaning": SETTINGS}
    )
    with open_study(url, metadata=SETTINGS) as ledger:
        claim(ledger, identity, root)
        drive(ledger)
        run_one(ledger)
        ledger.ask(lambda trial: {})
    for number in range(NUM_TRIALS):
        (root / "trials" / f"{number:05d}").mkdir(parents=True)
    return identity


def copied(root: Path) -> Path:
    """A folder beside `root` with what a copy of it has."""
    copy = root.with_name("copy")
    (copy / "trials" / "00000").mkdir(parents=True)
    write_json(copy / "study.json", read_json(root / "study.json"))
    return copy


def paired(root: Path, **settings: object) -> str:
    return pair(root, root, study_storage(root), name="s", settings={**SETTINGS, **settings})


def test_a_database_s_path_is_absolute_to_us_and_relative_in_the_study_s_folder(tmp_path: Path) -> None:
    url = absolute_url("sqlite:///a/../rel.db", tmp_path)
    assert url == sqlite_url(tmp_path / "rel.db") == absolute_url(url, tmp_path / "elsewhere")
    assert portable_url(url, tmp_path) == "sqlite:///rel.db" and portable_url(url, tmp_path / "s") == url
    for other in ("postgresql://me:pw@host/db", "sqlite://", "sqlite:///:memory:"):
        assert absolute_url(other, tmp_path) == other
    assert portable_url("postgresql://me:pw@host/db", tmp_path) == "postgresql://me@host/db"


def test_paths_inside_the_folder_go_with_it_and_others_stay(tmp_path: Path) -> None:
    root, data = tmp_path / "s", tmp_path / "data"
    root.mkdir()
    values = {"options": {"cache_dir": root / "cache", "teacher_files": (data / "t",), "space": data / "space.py"}}
    write_manifest(root, root, {**values, "storage": "sqlite:///study.db", "request": {"folder": data}})
    assert str(root) not in (root / "study.json").read_text()
    root.rename(tmp_path / "moved")
    manifest = StudyManifest.read(tmp_path / "moved")
    assert manifest is not None and manifest.name == "moved"
    assert manifest.options["cache_dir"] == tmp_path / "moved" / "cache"
    assert manifest.options["teacher_files"] == [data / "t"] and manifest.request["folder"] == data
    assert manifest.storage == sqlite_url(tmp_path / "moved" / "study.db")


def test_what_0_1_0_wrote_absolutely_is_found_in_a_moved_folder(tmp_path: Path) -> None:
    options = {
        "name": "s",
        "folder": "/old/s/baselines",
        "phase": "baseline",
        "cache_dir": "/old/s/c",
        "space": "/g.py",
    }
    baselines = tmp_path / "new" / "baselines"
    baselines.mkdir(parents=True)
    write_json(baselines / "study.json", {"storage": "sqlite:////old/s/ledger.db", "options": options})
    manifest = StudyManifest.of_study(tmp_path / "new")
    assert manifest is not None and manifest.name == "s" and manifest.written_in == Path("/old/s")
    assert manifest.storage == sqlite_url(tmp_path / "new" / "ledger.db")
    assert manifest.options["cache_dir"] == tmp_path / "new" / "c" and manifest.options["space"] == Path("/g.py")


def test_another_database_is_refused_while_the_study_s_own_is_there(tmp_path: Path) -> None:
    root = tmp_path / "s"
    assert storage_to_write(root, "postgresql://me:pw@host/db") == "postgresql://me:pw@host/db"
    make(root)
    assert storage_to_write(root, None) == storage_to_write(root, sqlite_url(root / "study.db"))
    with pytest.raises(InputError, match=r"other.db: the ledger of study s is .*/s/study.db; leave out --storage"):
        storage_to_write(root, f"sqlite:///{tmp_path}/other.db")
    amend_manifest(root, storage="postgresql://me@host/db")
    (root / "study.db").unlink()
    assert storage_to_write(root, "postgresql://me:pw@host/db") == "postgresql://me:pw@host/db"


def test_a_new_study_gets_an_identity_that_stays(tmp_path: Path) -> None:
    identity = make(tmp_path / "s")
    assert len(identity) == 32 and paired(tmp_path / "s") == identity
    with open_to_read(tmp_path / "s") as ledger:
        assert (ledger.mark.identity, ledger.mark.folder) == (identity, None)
    assert make(tmp_path / "other") != identity


def test_begun_but_killed_before_its_database_was_made_a_study_begins_again(tmp_path: Path) -> None:
    write_manifest(tmp_path, tmp_path, {"name": "s", "identity": "1" * 32, "storage": "sqlite:///study.db"})
    assert paired(tmp_path) == "1" * 32
    with pytest.raises(InputError, match=r"names the database .*/study.db, and .*/other.db has no such study"):
        pair(tmp_path, tmp_path, f"sqlite:///{tmp_path}/other.db", name="s", settings=SETTINGS)
    assert not (tmp_path / "other.db").exists()


def test_trials_that_the_database_does_not_know_are_not_run_over(tmp_path: Path) -> None:
    make(tmp_path / "s")
    for name in ("study.db", "study.json"):
        (tmp_path / "s" / name).unlink()
    with pytest.raises(InputError, match=r"s/trials holds 6 trials, and .*/study.db none of this study"):
        paired(tmp_path / "s")
    open_study(sqlite_url(tmp_path / "s" / "study.db")).close()
    with pytest.raises(InputError, match="holds 6 trials"):
        paired(tmp_path / "s")


def test_a_study_without_identity_is_recognised_by_its_settings(tmp_path: Path) -> None:
    root = tmp_path / "s"
    root.mkdir()
    with open_study(sqlite_url(root / "study.db"), metadata=SETTINGS) as ledger:
        run_one(ledger)
    write_json(root / "study.json", {"meaning": {**SETTINGS, "seed": 4}, "options": {"name": "s"}})
    with pytest.raises(InputError, match="are of different studies: seed 4 here, 3 there"):
        paired(root)
    write_json(root / "study.json", {"meaning": SETTINGS, "options": {"name": "s"}})
    identity = paired(root)
    assert read_json(root / "study.json")["identity"] == identity == paired(root)
    (root / "study.json").unlink()
    assert paired(root) == identity
    with pytest.raises(InputError, match="seed 5 here, 3 there"):
        paired(root, seed=5)


def test_a_name_in_a_shared_database_that_another_folder_has_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "shared.db")
    identity = make(tmp_path / "a" / "s", url)
    fresh = tmp_path / "b" / "s"
    fresh.mkdir(parents=True)
    with pytest.raises(InputError, match=rf"belongs to {tmp_path}/a/s, not to {tmp_path}/b/s; --adopt"):
        pair(fresh, fresh, url, name="s", settings=SETTINGS)
    (tmp_path / "a").rename(tmp_path / "c")
    assert paired(tmp_path / "c" / "s") == identity
    with Ledger.open(url, "s", create=False) as ledger:
        assert ledger.mark.folder == tmp_path / "c" / "s"


def test_an_adopted_copy_has_all_that_the_database_had_and_goes_on_alike(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "shared.db")
    identity = make(tmp_path / "s", url)
    copy = copied(tmp_path / "s")
    (copy / ".study.db.tmp").write_text("of a process that was killed")
    with open_study(sqlite_url(tmp_path / "moved.db")) as moved:
        run_one(moved)
        shutil.copy(tmp_path / "moved.db-wal", copy / "study.db-wal")  # the database was moved without it
    with pytest.raises(InputError, match="belongs to"):
        paired(copy)
    adopted = adopt(copy, None)
    own = sqlite_url(copy / "study.db")
    assert study_storage(copy) == own and paired(copy) == adopted != identity
    assert content(own) == content(url)
    assert not list(copy.glob(".study.db*"))
    assert paired(tmp_path / "s") == identity
    with open_study(own) as mine, open_study(url) as theirs:
        assert run_one(mine) == run_one(theirs)


def test_an_interrupted_adoption_is_repeated(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "shared.db")
    identity = make(tmp_path / "s", url)
    copy = copied(tmp_path / "s")
    adopt(copy, None)
    amend_manifest(copy, identity=identity, storage=url)  # as if it had ended before study.json was written
    with pytest.raises(InputError, match=f"is of study {identity[:8]}, the database"):
        paired(copy)
    assert adopt(copy, None) == paired(copy) == read_json(copy / "study.json")["identity"]


def test_there_must_be_a_study_to_adopt_and_it_must_be_the_database_s(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study\.json in"):
        adopt(tmp_path / "nosuch", None)
    make(tmp_path / "s")
    values = read_json(tmp_path / "s" / "study.json")
    write_json(tmp_path / "s" / "study.json", {**values, "meaning": {**SETTINGS, "data": "xyz"}})
    with pytest.raises(InputError, match="data 'xyz' here, 'abc' there"):
        adopt(tmp_path / "s", None)
