"""A study's folder is self-contained: moved, renamed or copied, every command works on it and writes only into it."""

import csv
import gc
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from conftest import lay_out, read_json, run_runner

from xlite.commands import analyze, leaderboard, promote, teacher_bank, train_baselines, tune_kd
from xlite.commands.cli import run as run_command
from xlite.commands.reopen import take_place
from xlite.console import SilentConsole
from xlite.errors import InputError
from xlite.ledger import Ledger, sqlite_url
from xlite.storage.files import write_json

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
NUM_ENDED, CUT_OFF = 4, 1
"""Trials of the study: those that have ended, and one that was cut off."""
GRID = 'CONFIGURATIONS = [{"optim.learning_rate": 0.001}]\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The STM study of an earlier version, after this version has continued it without a trial more."""
    home = lay_out("study_stm", tmp_path_factory.mktemp("made") / "home")
    assert tune(home, "--study", "stm", "--data", home / "data", "--cache-dir", home / "cache") == 0
    assert not [file for file in (home / "cache").rglob("*") if str(home).encode() in content(file)]
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """The study with its data, teacher and cache in another place, and none of them in the first."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    home = tmp_path / "home"
    shutil.copytree(made, home)
    study = home / "results" / "stm" / "study.json"
    study.write_text(study.read_text().replace(str(made), str(home)))
    gc.disable()  # what a command holds is let go when it ends, not when Python next collects
    yield home
    gc.enable()


def words(home, *more):
    """What the study was made with, but for its places; it is to have as many trials as have ended."""
    return (
        "--task", "stm_scanlines", "--results", home / "results", "--space", home / "space.py", "--image-size", 16,
        "--seed", 1, "--max-epochs", 6, "--promote-epochs", 4, "--max-concurrent", 1, "--set", "data.window_lines=16",
        "--set", "data.augmentation=none", "--set", "model.layers=1", "--set", "model.width=8",
        "--set", "model.ffn_width=16", "--set", "model.attention_heads=2", "--set", "optim.warmup_epochs=1",
        "--no-promote", "--trials", NUM_ENDED, *more,
    )  # fmt: skip


def tune(home, *more):
    """The exit code of the command that the study was made with."""
    return called(tune_kd, *words(home, *more))


def called(command, *given):
    """The exit code of a command in this process."""
    with pytest.raises(SystemExit) as left:
        run_command(command.run, command.parser(), [str(word) for word in given])
    return left.value.code


def refused(capsys, code):
    """The one line with which a command has refused its input."""
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    return error


def content(file):
    return file.read_bytes() if file.is_file() else b""


def files(folder):
    """Every file below a folder with its bytes."""
    return {path: content(path) for path in folder.rglob("*")}


def trials(results, study):
    """Trial -> status in a study's leaderboard.csv; promotions as "final"."""
    with (results / study / "leaderboard.csv").open() as file:
        return {(row["phase"] == "final", int(row["trial"])): row["status"] for row in csv.DictReader(file)}


def move_database(file, to):
    """As `mv` when nobody has it open."""
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("PRAGMA journal_mode=DELETE")
    file.rename(to)


def names(database):
    """Of the studies in a database."""
    with closing(sqlite3.connect(database)) as opened:
        return {name for (name,) in opened.execute("SELECT study_name FROM studies")}


def dump(database):
    """All that is in a database."""
    with closing(sqlite3.connect(database)) as opened:
        return list(opened.iterdump())


def test_a_copy_with_moved_data_cache_and_teacher_is_worked_on_and_the_original_untouched(home, capsys):
    results, copy = home / "results", ("--study", "copy", "--results", home / "results")
    shutil.copytree(results / "stm", results / "copy")
    original = files(results / "stm")
    for name in ("data", "cache", "teacher"):
        (home / name).rename(home / f"moved_{name}")
    places = ["--data", home / "moved_data", "--cache-dir", home / "moved_cache"]
    teacher = ["--teacher", home / "moved_teacher" / "teacher.safetensors"]

    assert "name its folder with --data" in refused(capsys, called(promote, *copy))
    assert called(leaderboard, *copy) == called(analyze, *copy) == 0
    assert called(teacher_bank, *copy, *places, *teacher, "--check") == 0
    assert called(promote, *copy, *places, *teacher, "--trial", 0, "--epochs", 1, "--again", "--no-package") == 0
    more = words(home, "--study", "copy", *places, *teacher, "--trials", NUM_ENDED + CUT_OFF)
    done = run_runner("tune_kd", *more, CUDA_VISIBLE_DEVICES="")
    assert "4 trials are there, 1 to go, 1 of them from their last epoch" in done.stdout, done.stdout + done.stderr
    assert files(results / "stm") == original
    assert not (home / "cache").exists()
    assert trials(results, "copy")[(False, NUM_ENDED)] == "completed"
    assert {number for final, number in trials(results, "copy") if final} == {3, 0}
    assert trials(results, "stm").keys() == {(True, 3), *((False, number) for number in range(NUM_ENDED + CUT_OFF))}


def test_a_renamed_study_in_another_folder_goes_on_as_the_one_it_was(home, capsys):
    before = read_json(home / "results" / "stm" / "study.json")
    (home / "elsewhere").mkdir()
    (home / "results" / "stm").rename(home / "elsewhere" / "renamed")
    (home / "grid.py").write_text(GRID)
    study = ("--study", "renamed", "--results", home / "elsewhere")
    assert tune(home, *study) == 0
    assert f"Continuing renamed: {NUM_ENDED} trials are there, 0 to go" in capsys.readouterr().out
    baselines = ("--space", home / "grid.py", "--epochs", 6, "--seed", 1, "--image-size", 16, "--task", "stm_scanlines")
    assert "measured on something else" in refused(capsys, called(train_baselines, *study, *baselines))
    assert called(leaderboard, *study) == 0
    assert f"{NUM_ENDED}" in capsys.readouterr().out
    folder = home / "elsewhere" / "renamed"
    assert names(folder / "study.db") == {"stm", "stm.final"}
    after = read_json(folder / "study.json")
    assert (after["name"], after["identity"]) == ("stm", before["identity"])
    assert after["storage"] == "sqlite:///study.db"
    assert not (home / "results" / "stm").exists()
    text = json.dumps(after) + "".join(
        content(file).decode(errors="ignore") for file in folder.rglob("*") if file.is_file()
    )
    assert str(folder) not in text and str(home / "results") not in text


def test_a_database_elsewhere_is_remembered_and_no_other_is_taken(home, capsys, monkeypatch):
    folder, database = home / "results" / "stm", home / "databases" / "ledger.db"
    database.parent.mkdir()
    move_database(folder / "study.db", database)
    monkeypatch.chdir(database.parent)
    assert f"trials holds {NUM_ENDED + CUT_OFF} trials" in refused(capsys, tune(home, "--study", "stm"))
    assert tune(home, "--study", "stm", "--storage", "sqlite:///ledger.db") == 0
    monkeypatch.chdir(home)
    assert read_json(folder / "study.json")["storage"] == sqlite_url(database)
    assert tune(home, "--study", "stm") == 0
    capsys.readouterr()
    line = refused(capsys, tune(home, "--study", "stm", "--storage", "sqlite:///other.db"))
    assert str(home / "other.db") in line and str(database) in line
    assert not (home / "other.db").exists() and not (folder / "study.db").exists()


def test_a_copy_beside_a_database_elsewhere_becomes_one_of_its_own_by_adopt_only(home, capsys):
    results, database = home / "results", home / "ledger.db"
    move_database(results / "stm" / "study.db", database)
    assert tune(home, "--study", "stm", "--storage", f"sqlite:///{database}") == 0
    shutil.copytree(results / "stm", results / "copy")
    left, before = files(results / "stm"), read_json(results / "copy" / "study.json")
    rows, copy = dump(database), ("--study", "copy", "--results", results)
    capsys.readouterr()
    for code in (lambda: tune(home, "--study", "copy"), lambda: called(promote, *copy)):
        line = refused(capsys, code())
        assert f"belongs to {results / 'stm'}, not to {results / 'copy'}; --adopt makes" in line
    assert called(leaderboard, *copy) == 0 and not (results / "copy" / "study.db").exists()
    assert called(promote, *copy, "--adopt", "--trial", 0, "--epochs", 1, "--again") == 0
    assert tune(home, "--study", "copy") == 0
    after = read_json(results / "copy" / "study.json")
    assert after["storage"] == "sqlite:///study.db" and after["identity"] != before["identity"]
    assert names(results / "copy" / "study.db") == {"stm", "stm.final"}
    assert files(results / "stm") == left and dump(database) == rows
    (results / "stm").rename(results / "moved")  # the one that the database belongs to
    assert called(promote, "--study", "moved", "--results", results, "--trial", 0, "--epochs", 1, "--again") == 0
    with Ledger.open(sqlite_url(database), "stm", create=False) as ledger:
        assert ledger.mark.folder == results / "moved" and len(ledger.finals()) == 2


def test_a_folder_and_a_database_of_different_studies_are_not_brought_together(home, capsys):
    results = home / "results"
    shutil.copytree(results / "stm", results / "other")
    assert tune(home, "--study", "other", "--adopt") == 0
    assert "is now one of its own" in capsys.readouterr().out
    shutil.copy(results / "stm" / "study.db", results / "other" / "study.db")
    for command in (leaderboard, analyze, promote):
        line = refused(capsys, called(command, "--study", "other", "--results", results))
        assert read_json(results / "other" / "study.json")["identity"][:8] in line
        assert read_json(results / "stm" / "study.json")["identity"][:8] in line
    assert str(results / "other") in refused(capsys, tune(home, "--study", "other"))
    for name in ("study.db", "study.json"):
        (results / "other" / name).unlink()
    line = refused(capsys, tune(home, "--study", "other", "--data", home / "data", "--cache-dir", home / "cache",
        "--teacher", home / "teacher" / "teacher.safetensors"))  # fmt: skip
    assert "trials holds 5 trials" in line and str(results / "other" / "study.db") in line
    assert not (results / "other" / "study.db").exists()


def test_what_a_command_does_not_name_is_where_the_study_has_it_or_in_the_default_place(tmp_path, monkeypatch):
    folder, teacher, phantom = tmp_path / "s", tmp_path / "t.safetensors", tmp_path / "home" / "data" / "phantom" / "p"
    monkeypatch.setenv("XLITE_HOME", str(tmp_path / "home"))

    def taken(data, *more):
        options = {"name": "first", "cache_dir": str(tmp_path / "cache"), "teacher_files": [str(teacher)]}
        write_json(folder / "study.json", {"options": options, "request": {"folder": str(data)}})
        arguments = tune_kd.parser().parse_args([str(word) for word in more])
        assert take_place(arguments, folder, SilentConsole()) == "first"
        return arguments.data, arguments.cache_dir, arguments.teacher, arguments.storage

    for made_here in (folder, tmp_path / "data", phantom):
        made_here.mkdir(parents=True)
    default, url = tmp_path / "home" / "data" / "cache", sqlite_url(folder / "study.db")
    assert taken(tmp_path / "data") == (tmp_path / "data", default, [teacher], url)
    (tmp_path / "cache").mkdir()
    assert taken(tmp_path / "data") == (tmp_path / "data", tmp_path / "cache", [teacher], url)
    named = ("--data", tmp_path, "--cache-dir", tmp_path / "c", "--teacher", tmp_path / "u")
    assert taken(tmp_path / "data", *named) == (tmp_path, tmp_path / "c", [tmp_path / "u"], url)
    assert taken("/old/home/data/phantom/p")[0] is None  # the built-in one, moved with the home
    with pytest.raises(InputError, match=r"no data in /gone; name its folder with --data"):
        taken("/gone")


def test_adopt_needs_a_study_and_does_not_go_with_a_dry_run(home, capsys):
    assert "no study to take over" in refused(capsys, tune(home, "--study", "nosuch", "--adopt"))
    assert "leave one out" in refused(capsys, tune(home, "--study", "stm", "--adopt", "--dry-run"))


@pytest.mark.parametrize("external", [False, True])
def test_of_a_study_of_0_1_0_the_copy_is_told_from_the_original(external, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    home = lay_out("study_stm", tmp_path / "home")
    results, file = home / "results", home / "results" / "stm" / "study.json"
    if external:
        (results / "stm" / "study.db").rename(home / "ledger.db")
        file.write_text(file.read_text().replace(f"{results}/stm/study.db", f"{home}/ledger.db"))
    shutil.copytree(results / "stm", results / "copy")
    left = files(results / "stm")
    code = called(promote, "--study", "copy", "--results", results, "--trial", 0, "--epochs", 1, "--again")
    if external:
        assert f"belongs to {results / 'stm'}" in refused(capsys, code)
    else:
        assert code == 0 and len(read_json(results / "copy" / "study.json")["identity"]) == 32
        shutil.rmtree(results / "stm" / "trials")  # the copy has its own
        assert called(leaderboard, "--study", "copy", "--results", results) == 0
        left = {path: data for path, data in left.items() if "trials" not in path.parts}
    assert files(results / "stm") == left


def test_a_new_study_s_identity_is_in_folder_and_ledger(home):
    with Ledger.open(sqlite_url(home / "results" / "stm" / "study.db"), "stm", create=False) as ledger:
        assert ledger.mark.identity == read_json(home / "results" / "stm" / "study.json")["identity"]
        assert len(ledger.mark.identity) == 32 and ledger.mark.folder is None
