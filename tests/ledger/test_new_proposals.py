"""What is not new is drawn again and never stored; where nothing repeats, proposals are as they always were."""

import optuna
import pytest
from studies import open_study, run_one, score
from studies import space as wide

from xlite.errors import SpaceError
from xlite.ledger import sqlite_url
from xlite.samplers.sampling import Sampling

CHOICES = {"model.attention": ["none", "mhsa"], "optim.batch_size": [8, 16, 32], "loss.name": ["bce", "focal"]}
NUM_COMBINATIONS = 12


def finite(trial):
    return {name: trial.suggest_categorical(name, choices) for name, choices in CHOICES.items()}


def key(overrides):
    return tuple(sorted(overrides.items()))


def exhaust(ledger, limit, tried=None):
    """Ask, end, and so on until nothing is new or `limit` trials were had; the proposals in order."""
    tried = {key(row.overrides) for row in ledger.rows()} if tried is None else tried
    out = []
    while len(out) < limit:
        proposal = ledger.ask_new(finite, lambda overrides: key(overrides) not in tried, num_draws=1000)
        if proposal is None:
            break
        tried.add(key(proposal.overrides))
        out.append((proposal.number, key(proposal.overrides)))
        ledger.finish(proposal.number, "complete", value=0.5 + 0.01 * proposal.overrides["optim.batch_size"])
    return out


def test_a_finite_space_is_tried_whole_once_each_without_gaps(tmp_path):
    with open_study(sqlite_url(tmp_path / "s.db")) as ledger:
        found = exhaust(ledger, 20)
        assert [number for number, _ in found] == list(range(NUM_COMBINATIONS))
        assert len({chosen for _, chosen in found}) == NUM_COMBINATIONS
        assert ledger.ask_new(finite, lambda overrides: False, num_draws=50) is None
        rows = ledger.rows()
        assert len(rows) == NUM_COMBINATIONS and {row.state for row in rows} == {"complete"}
        assert all(key(row.overrides) == chosen for row, (_, chosen) in zip(rows, found, strict=True))


def test_a_continued_search_draws_the_same(tmp_path):
    with open_study(sqlite_url(tmp_path / "whole.db")) as ledger:
        whole = exhaust(ledger, 20)
    parts = []
    for limit in (3, 4, 2, 20):
        with open_study(sqlite_url(tmp_path / "parts.db")) as ledger:
            parts += exhaust(ledger, limit)
    assert parts == whole


def test_what_was_drawn_again_is_what_optuna_reads_back_without_traces_of_the_first_draw(tmp_path):
    def branches(trial):
        chosen = {"a": trial.suggest_categorical("a", [0, 1, 2, 3])}
        return chosen | {f"x{chosen['a']}": trial.suggest_float(f"x{chosen['a']}", 0, 1)}

    url = sqlite_url(tmp_path / "s.db")
    with open_study(url) as ledger:
        for wanted in (3, 1, 2):
            ledger.ask_new(branches, lambda overrides, wanted=wanted: overrides["a"] == wanted, num_draws=1000)
    trials = optuna.load_study(study_name="s", storage=url).trials
    assert [set(trial.params) for trial in trials] == [{"a", "x3"}, {"a", "x1"}, {"a", "x2"}]
    assert [trial.params["a"] for trial in trials] == [3, 1, 2]


def test_without_repeats_proposals_are_those_of_ask(tmp_path):
    with open_study(sqlite_url(tmp_path / "a.db")) as plain, open_study(sqlite_url(tmp_path / "b.db")) as checked:
        for number in range(10):
            proposal = checked.ask_new(wide, lambda overrides: True, num_draws=1000)
            value = score(proposal.overrides)
            for epoch, told in ((1, value - 0.1), (2, value)):
                checked.report(number, epoch, told)
            checked.finish(number, "pruned" if number % 3 == 1 else "complete", value=value)
            assert run_one(plain) == proposal


def test_optuna_s_storage_in_memory_gives_its_own_objects():
    sampling = Sampling([], seed=0)
    trial, _ = sampling.start()
    finite(trial)
    fresh = sampling.redraw(0, lambda trial: {"number": trial.number, **trial.params}, lambda _: True, num_draws=1)
    assert fresh == {"number": 0}
    drawn = sampling.redraw(0, finite, lambda drawn: drawn["optim.batch_size"] == 8, num_draws=99)
    assert drawn == sampling.trial(0).params


def broken(trial):
    raise_it = {"x": trial.suggest_float("x", 0, 1)}
    raise KeyError(raise_it["x"])


@pytest.mark.parametrize("enqueued", [False, True])
def test_an_error_of_the_space_leaves_the_ledger_as_it_was(tmp_path, enqueued):
    def guarded(trial):
        try:
            return broken(trial)
        except KeyError as error:
            raise SpaceError("the space failed") from error

    with open_study(sqlite_url(tmp_path / "s.db")) as ledger:
        if enqueued:
            ledger.enqueue({"x": 0.5})
        with pytest.raises(SpaceError):
            ledger.ask(guarded)
        assert [row.state for row in ledger.rows()] == ["waiting"] * enqueued
        proposal = ledger.ask(lambda trial: {"x": trial.suggest_float("x", 0, 1)})  # corrected
        assert proposal.number == 0 and (not enqueued or proposal.overrides == {"x": 0.5})
