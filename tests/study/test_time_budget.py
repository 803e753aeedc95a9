"""A time budget: until when trials start, what is left for promotion, and the command where that does not suffice."""

import argparse
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlite.commands import promote as promote_module
from xlite.commands import promote_found
from xlite.commands.promote_found import promote_all, promote_command
from xlite.commands.tune_kd import parser, resolve
from xlite.config import RunConfig
from xlite.console import Console
from xlite.errors import InputError
from xlite.ledger import TestRead, TrialRecord
from xlite.models.limits import Cost
from xlite.study.members import promotion_seconds
from xlite.study.promotion_size import PromotionSize
from xlite.study.time_budget import OutOfTime, TimeBudget
from xlite.train.summary import RunSummary

WINNER = TrialRecord(4, "search", "complete", 0.7, summary=RunSummary(epochs=10, seconds=20.0))


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_trials_start_until_the_budget_is_spent_and_the_reserve_counts_from_there() -> None:
    clock = Clock()
    budget = TimeBudget(60.0, 20.0, clock)
    seen = []
    for clock.now_s in (1000.0, 1059.0, 1060.0, 1085.0):
        seen.append((budget.may_start(), budget.left_s()))
    assert seen == [(True, 80.0), (True, 21.0), (False, 20.0), (False, -5.0)]


def test_without_limits_trials_always_start_and_time_never_ends() -> None:
    clock = Clock()
    unlimited, without_reserve = TimeBudget(clock=clock), TimeBudget(60.0, clock=clock)
    clock.now_s += 1e6
    assert unlimited.may_start() and unlimited.left_s() == math.inf
    assert not without_reserve.may_start() and without_reserve.left_s() == math.inf


def test_a_reserve_needs_a_budget_and_a_promotion() -> None:
    with pytest.raises(InputError, match="--promote-reserve is time after --time-budget"):
        TimeBudget(None, 20.0)
    arguments = parser().parse_args(["--time-budget", "1h", "--promote-reserve", "5m", "--no-promote"])
    with pytest.raises(InputError, match="--promote-reserve keeps time for a promotion"):
        resolve(arguments, "s", Path("s"), "cpu")


def test_the_alarm_rings_in_the_block_alone_and_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTime), TimeBudget(0.0, 0.05).alarm():
        time.sleep(5)
    with TimeBudget(0.0, 0.2).alarm():
        pass
    with TimeBudget(0.0).alarm():
        pass
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGALRM) is before


def study_of(folder: Path, **options) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A study searched on half of the training data, and its data."""
    values = {
        "name": "s",
        "folder": folder / "s",
        "root": folder / "s",
        "promote_epochs": 30,
        "num_folds": 1,
        "num_repeats": 1,
        "max_epochs": 10,
        "promote_top": 1,
        "promote_seeds": 1,
        "objectives": (),
        **options,
    }
    prepared = SimpleNamespace(
        search=SimpleNamespace(parts={"train": range(50)}), full=SimpleNamespace(parts={"train": range(100)})
    )
    return SimpleNamespace(options=SimpleNamespace(**values), base=RunConfig()), prepared


def test_promotion_is_expected_to_take_as_long_as_its_epochs_took_in_the_search(tmp_path: Path) -> None:
    study, prepared = study_of(tmp_path)
    assert promotion_seconds(study, prepared, WINNER, num_folds=1) == 2.0 * 2 * 30
    assert promotion_seconds(study, prepared, WINNER, num_folds=5) == 5 * 2.0 * 2 * 30
    assert promotion_seconds(study, prepared, WINNER, num_folds=1, num_seeds=3) == 3 * 2.0 * 2 * 30
    repeated, _ = study_of(tmp_path, num_repeats=3)
    assert promotion_seconds(repeated, prepared, WINNER, num_folds=5) == 15 * 2.0 * 2 * 30
    assert promotion_seconds(repeated, prepared, WINNER, num_folds=1) == 2.0 * 2 * 30
    assert promotion_seconds(study, prepared, replace(WINNER, summary=RunSummary()), num_folds=1) == 0.0


@pytest.fixture
def promote(tmp_path, monkeypatch, capsys):
    """Promotes for so long, with so much time left; returns whether it was done and what was said."""

    def promoted(*, takes_s: float, left_s: float, recorded: bool = False, **options) -> tuple[bool, str]:
        finals: list[TrialRecord] = []

        def promotes(*_: object, **__: object) -> None:
            finals.extend([WINNER] * recorded)
            time.sleep(takes_s)

        monkeypatch.setattr(promote_module, "promote_and_tell", promotes)
        study, prepared = study_of(tmp_path, **options)
        result = SimpleNamespace(
            winner=WINNER, teacher=None, ledger=SimpleNamespace(rows=lambda: [WINNER], finals=lambda: finals)
        )
        arguments = argparse.Namespace(thresholds="youden", again=False, promote=None, no_package=False)
        budget = TimeBudget(0.0, left_s)
        return promote_all(study, prepared, result, arguments, budget, Console()), capsys.readouterr().out

    return promoted


def test_a_promotion_that_fits_is_done(promote) -> None:
    assert promote(takes_s=0.0, left_s=1000.0) == (True, "")


def test_a_promotion_that_does_not_fit_is_left_to_the_command_that_is_named(promote, tmp_path) -> None:
    done, said = promote(takes_s=5.0, left_s=60.0)
    assert not done and said == (
        "--promote-reserve: promotion takes about 120 s and 60 s are left. To promote trial 4: "
        f"xlite promote --study s --results {tmp_path} --trial 4 --thresholds youden\n"
    )


def test_the_command_makes_the_promotion_that_was_left(tmp_path) -> None:
    options, arguments = (
        study_of(tmp_path)[0].options,
        argparse.Namespace(thresholds=None, again=True, no_package=False),
    )
    several = PromotionSize((WINNER, replace(WINNER, number=2)), 3, 9.0, 9.0)
    said = promote_command(arguments, options, several)
    assert said == f"xlite promote --study s --results {tmp_path} --promote-top 2 --promote-seeds 3 --again"


def test_a_size_that_compares_nothing_is_refused_before_the_search() -> None:
    for words, why in (
        ("--promote-top 3 --promote-seeds 1", "one seed each does not tell trials apart"),
        ("--promote-top 9 --trials 8", "the search has 8 trials"),
    ):
        with pytest.raises(InputError, match=why):
            resolve(parser().parse_args(words.split()), "s", Path("s"), "cpu")


def test_a_promotion_that_takes_longer_than_expected_is_ended_in_time(promote) -> None:
    started = time.monotonic()
    done, said = promote(takes_s=5.0, left_s=0.1, promote_epochs=0)
    assert not done and time.monotonic() - started < 2
    assert "promotion did not end in time; what is trained is kept. To promote trial 4: xlite promote" in said


def test_a_promotion_that_ended_before_its_package_did_names_the_command_that_packages(promote, tmp_path) -> None:
    done, said = promote(takes_s=5.0, left_s=0.1, recorded=True, promote_epochs=0)
    assert done and said == (
        "--promote-reserve: the model is promoted, but not packaged in time. To do so: "
        f"xlite package --study s --results {tmp_path}\n"
    )


def test_a_front_that_was_cut_off_goes_on_with_the_same_command(tmp_path, monkeypatch) -> None:
    """But not one whose test part something else has read."""
    rows = [replace(WINNER, number=i, value=0.8 - i / 10, cost=Cost(1, 3.0 - i, 1.0)) for i in range(3)]
    done: list[int] = []
    reads: list[TestRead] = []
    finals: list[SimpleNamespace] = []
    ledger = SimpleNamespace(rows=lambda: rows, finals=lambda: finals, test_reads=lambda: reads)
    study, _ = study_of(tmp_path, objectives=("auc_macro:max", "size_mb:min"))

    def one(study: object, prepared: object, result: object, front: list[TrialRecord], place: Path, *_: object) -> bool:
        number, killed = front[0].number, len(reads) == 1
        place.mkdir(parents=True, exist_ok=True)
        reads.append(TestRead.now(str(number), f"promotion of trial {number}"))
        if killed:
            raise KeyboardInterrupt
        done.append(number)
        finals.append(SimpleNamespace(promotion=SimpleNamespace(promoted_from=number)))
        return True

    def promoted() -> bool:
        arguments = argparse.Namespace(promote="front", again=False)
        return promote_all(study, None, SimpleNamespace(ledger=ledger), arguments, None, Console())  # type: ignore[arg-type]

    monkeypatch.setattr(promote_found, "promote_in_time", one)
    with pytest.raises(KeyboardInterrupt):
        promoted()
    reads.append(TestRead.now("x", "comparison of a, b"))
    with pytest.raises(InputError, match="give --again"):
        promoted()
    reads.pop()
    assert promoted() and done == [0, 0, 1, 2]
