"""Every option of every command acts, or says why not: a table of what each does, which may lack none."""

import pytest
from conftest import write_nih_folder
from option_effects import EFFECTS, GRID, SPACE
from options_bench import SAYING, Bench, Told, module

from xlite.commands import analyze, report, tune_kd
from xlite.commands.main import COMMANDS
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialResult, sqlite_url


def options_of(command):
    """Every option of a command but --help."""
    actions = module(command).parser()._actions  # argparse has no public way to list them
    return {option for action in actions for option in action.option_strings} - {"-h", "--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_has_every_option_and_no_other(command):
    assert options_of(command) == set(EFFECTS[command])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Images, a space, a grid, and the study "kd" of two trials."""
    folder = tmp_path_factory.mktemp("home")
    write_nih_folder(folder / "nih", 60, px=32)
    (folder / "space.py").write_text(SPACE)
    (folder / "grid.py").write_text(GRID)
    (folder / "results" / "kd").mkdir(parents=True)
    with Ledger.open(sqlite_url(folder / "results" / "kd" / "study.db"), "kd", create=True) as ledger:
        for number, value in enumerate((0.75, 0.875)):
            ledger.enqueue({"distill.alpha": 0.5, "distill.temperature": 4.0})
            ledger.ask(lambda trial: {})
            ledger.finish(number, "complete", value=value, result=TrialResult())
    return folder


@pytest.fixture
def it(home, monkeypatch, capsys):
    told = Told()
    for one in (*SAYING, analyze, report):
        monkeypatch.setattr(one, "Console", lambda: told)
    return Bench(home, told, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command, effects in EFFECTS.items() for option in effects]
)
def test_an_option_acts_or_says_why_not(it, command, option):
    assert EFFECTS[command][option](it)


def test_a_search_whose_promotion_is_refused_is_still_reported(it, monkeypatch):
    def refuse(*_):
        raise InputError("its test part has been read")

    reports = []
    monkeypatch.setattr(tune_kd, "promote_all", refuse)
    monkeypatch.setattr(tune_kd, "report_at_end", lambda *given: reports.append(given))
    with pytest.raises(InputError, match="has been read"):
        it.promotion("")
    assert len(reports) == 1


def test_a_study_that_has_promoted_says_before_it_grows_that_another_promotion_takes_again(it):
    (it.home / "results" / "grown" / "promoted").mkdir(parents=True)
    (it.home / "results" / "grown" / "promoted" / "metrics.json").touch()
    line = "to promote another trial takes --again"
    assert line in it.dry("--study grown")
    assert not any(line in it.dry(f"--study grown {more}") for more in ("--again", "--no-promote"))
