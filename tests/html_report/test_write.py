"""A report is whole for every study: empty, of one trial, only failures, an earlier version's, several objectives."""

import json
import re
from pathlib import Path

import pytest
from conftest import lay_out
from made_up import promoted, write_study

from xlite.commands import report as command
from xlite.commands.cli import run
from xlite.commands.reopen import Places
from xlite.errors import InputError
from xlite.html_report.page import _json
from xlite.html_report.write import write_report
from xlite.ledger import Ledger, sqlite_url

SECTIONS = ("search", "leaderboard", "model", "learning", "parameters", "cost", "data", "time", "made")


def report(folder: Path) -> str:
    sections = write_report(folder, folder / "report.html", why_not="not here")
    assert [section.id for section in sections] == list(SECTIONS)
    text = (folder / "report.html").read_text()
    figures = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert figures is not None and isinstance(json.loads(figures[1], parse_constant=pytest.fail), list)
    return text


def test_a_study_without_a_trial(tmp_path: Path) -> None:
    with Ledger.open(sqlite_url(tmp_path / "study.db"), tmp_path.name, create=True):
        pass
    text = report(tmp_path)
    assert "none yet" in text and "Nothing is promoted yet" in text


def test_one_trial_only_failures_and_an_unfinished_one(tmp_path: Path) -> None:
    assert "1 trial: 1 complete" in report(write_study(tmp_path / "one", 1))
    failed = report(write_study(tmp_path / "failed", 2, failing=True, reason="loss is nan"))
    assert "loss is nan" in failed and "0, 1" in failed and "none yet" in failed


def test_a_front_is_drawn_for_one_objective_and_told_for_several(tmp_path: Path) -> None:
    objectives = ("auc_macro:max", "latency_ms:min", "size_mb:min")
    text = report(write_study(tmp_path / "several", 6, objectives=objectives))
    assert "Of the hypervolume that is dominated now" in text and "auc_macro against latency" in text


@pytest.mark.parametrize(("study", "name"), [("study_chest", "chest"), ("study_stm", "stm")])
def test_a_study_of_an_earlier_version(tmp_path: Path, study: str, name: str) -> None:
    folder = lay_out(study, tmp_path / "f") / "results" / name
    text = report(folder)
    assert "promoting again stores them" in text and str(tmp_path) not in text
    assert "xlite tune --study " + name in text


def test_each_member_of_a_promoted_front_has_its_section(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "kd", 3)
    promoted(folder, ("a", "b"))
    (folder / "promoted").rename(folder / "00002")
    (folder / "promoted").mkdir()
    (folder / "00002").rename(folder / "promoted" / "00002")
    sections = write_report(folder, folder / "r.html", why_not="")
    assert [section.title for section in sections if section.id.startswith("model")] == ["Promoted: trial 2"]


def test_a_report_that_fails_at_a_search_end_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xlite.console import Console

    command.report_at_end(tmp_path / "none", None, "sqlite:////no/study.db", Console())  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert said.startswith("No report: no study") and said.count("\n") == 1 and "xlite report --study none" in said


def test_the_command_writes_into_the_study_s_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_study(tmp_path / "kd", 1)
    with pytest.raises(SystemExit) as left:
        run(command.run, command.parser(), ["--study", "kd", "--results", str(tmp_path)])
    assert left.value.code == 0 and (folder / "report.html").stat().st_size > 1e6
    assert "9 sections in" in capsys.readouterr().out


def test_what_is_wrong_with_the_data_is_said_on_the_terminal_and_not_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, given = lay_out("study_chest", tmp_path / "f") / "results" / "chest", []

    def reopen(folder: Path, console: object, places: object) -> None:
        given.append(places)
        raise InputError("1 of 9 images missing (e.g. patient 7: missing)")

    (cache := tmp_path / "cache" / "key").mkdir(parents=True)
    stored = json.loads((folder / "study.json").read_text())
    stored["options"]["cache_dir"], stored["pixel_key"] = str(cache.parent), cache.name
    (folder / "study.json").write_text(json.dumps(stored))
    monkeypatch.setattr("xlite.commands.reopen.reopen", reopen)
    storage = sqlite_url(folder / "study.db")
    with pytest.raises(SystemExit):
        run(command.run, command.parser(), ["--study", "chest", "--results", str(folder.parent), "--storage", storage])
    assert given == [Places(storage=storage)] and "patient 7" in capsys.readouterr().out
    assert "patient 7" not in (folder / "report.html").read_text()


def test_figures_are_json_without_nan() -> None:
    assert _json({"x": [1.0, float("nan")], "y": (float("inf"), None, "a")}) == {
        "x": [1.0, None],
        "y": [None, None, "a"],
    }
