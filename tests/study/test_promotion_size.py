"""How many trials are trained again, and with how many seeds: what is asked, or as much as the search itself took."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.ledger import TrialRecord
from xlite.study.promotion_size import promotion_choices, promotion_size, search_seconds
from xlite.train.summary import RunSummary

START = datetime(2026, 3, 9, 12)


def row(number, value, *, state="complete", begin_s=0.0, end_s=600.0):
    """A trial of 100 epochs in 1,000 s."""
    at = {"started": START + timedelta(seconds=begin_s), "finished": START + timedelta(seconds=end_s)}
    return TrialRecord(number, "search", state, value, summary=RunSummary(epochs=100, seconds=1000.0), **at)


ROWS = [row(0, 0.7), row(1, 0.9), row(2, 0.8), row(3, None, state="failed"), row(4, 0.95, state="pruned")]


def size(tmp_path, rows=ROWS, *, took_s=600.0, limit_s=math.inf, top=None, num_seeds=None):
    parts = SimpleNamespace(parts={"train": range(50)})
    options = SimpleNamespace(promote_epochs=10, max_epochs=10, folder=tmp_path)
    rows = [replace(row(r.number, r.value, state=r.state, end_s=took_s), overrides=r.overrides) for r in rows]
    found = promotion_size(
        SimpleNamespace(options=options, base=RunConfig()), SimpleNamespace(search=parts, full=parts), rows,
        num_folds=1, limit_s=limit_s, top=top, num_seeds=num_seeds,
    )  # fmt: skip
    return [trial.number for trial in found.trials], found.num_seeds, found.seconds


def test_as_many_of_three_by_three_as_take_no_longer_than_the_search(tmp_path):
    sizes = {took_s: size(tmp_path, took_s=took_s) for took_s in (900.0, 600.0, 599.0, 400.0, 399.0, 1.0)}
    assert sizes[900.0] == ([1, 2, 0], 3, 900.0)
    assert sizes[600.0] == ([1, 2], 3, 600.0)  # rather more seeds than more trials
    assert sizes[599.0] == sizes[400.0] == ([1, 2], 2, 400.0)
    assert sizes[399.0] == sizes[1.0] == ([1], 1, 100.0)


def test_it_is_known_beforehand_what_may_be_trained():
    assert promotion_choices(None, None, num_trials=9) == [(3, 3), (2, 3), (3, 2), (2, 2), (1, 1)]
    assert promotion_choices(None, 1, num_trials=9) == promotion_choices(1, None, num_trials=9) == [(1, 1)]
    assert promotion_choices(1, 3, num_trials=9) == [(1, 3)]


def test_no_more_than_the_time_that_is_left(tmp_path):
    assert size(tmp_path, took_s=900.0, limit_s=450.0) == ([1, 2], 2, 400.0)


def test_what_is_asked_is_done_however_long_it_takes(tmp_path):
    assert size(tmp_path, took_s=1.0, top=4, num_seeds=5) == ([1, 2, 0, 4], 5, 2000.0)
    assert size(tmp_path, took_s=1.0, top=1, num_seeds=3) == ([1], 3, 300.0)
    assert size(tmp_path, took_s=1.0, num_seeds=1) == ([1], 1, 100.0)
    assert size(tmp_path, took_s=900.0, top=1) == ([1], 1, 100.0)  # more seeds would change no choice
    assert size(tmp_path, took_s=1.0, top=3) == ([1, 2, 0], 2, 600.0)
    assert size(tmp_path, took_s=1.0, num_seeds=2) == ([1, 2], 2, 400.0)
    assert size(tmp_path, ROWS[:1], num_seeds=2) == ([0], 2, 200.0)


def test_a_trial_that_this_version_no_longer_knows_is_passed_over_unless_it_is_the_best(tmp_path):
    old = {"distill.loss": "mse"}
    rows = [replace(each, overrides=old) if each.number == 2 else each for each in ROWS]
    assert size(tmp_path, rows, took_s=900.0) == ([1, 0, 4], 3, 900.0)
    rows = [replace(each, overrides=old) if each.number == 1 else each for each in ROWS]
    assert size(tmp_path, rows, took_s=900.0)[0] == [1, 2, 0]  # which then says why it cannot be trained


def test_one_seed_compares_nothing(tmp_path):
    with pytest.raises(InputError, match="--promote-top 3: one seed each does not tell trials apart"):
        size(tmp_path, top=3, num_seeds=1)


def test_more_trials_than_there_are_is_an_error(tmp_path):
    with pytest.raises(InputError, match="--promote-top 5: there are only 4 trials with a value"):
        size(tmp_path, top=5)


def test_trials_at_the_same_time_count_once_and_pauses_do_not():
    rows = [row(0, 0.7, end_s=100), row(1, 0.7, begin_s=50, end_s=150), row(2, 0.7, begin_s=1000, end_s=1010)]
    assert search_seconds(rows) == 160.0


def test_a_trial_that_was_interrupted_for_days_counts_for_its_own_seconds():
    waited = row(0, 0.7, end_s=3 * 86_400)
    assert search_seconds([waited]) == 1060.0  # and a minute, in which a worker starts
