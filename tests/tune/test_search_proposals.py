"""What a space proposes, asked by hand: invalid, failing, repeated and queued proposals."""

import pytest
from ray.tune.search import Searcher
from search_bench import epoch, failed, propose, search

from xlite.errors import SpaceError
from xlite.ledger import Ledger, sqlite_url
from xlite.models.limits import Limits


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "study.db"), "s", create=True) as opened:
        yield opened


def odd(trial):
    """Every third proposal does not resolve."""
    return {"model.backbone": "?" if trial.number % 3 == 2 else "small", "model.width": trial.number}


def test_a_proposal_that_does_not_resolve_has_failed_with_the_reason_and_the_search_goes_on(ledger):
    bridge = search(ledger, num_trials=6, space=odd)
    for name in "abcd":
        bridge.suggest(name)
        bridge.on_trial_complete(name, epoch(1, 0.5, finished=True))
    assert bridge.suggest("e") == Searcher.FINISHED and bridge.failure is None
    states = [(row.state, row.reason) for row in ledger.rows()]
    failed_row = ("failed", "space.py: unknown backbone ?")
    assert states == [("complete", ""), ("complete", ""), failed_row] * 2
    assert ("ended", 2, "failed", None, "space.py: unknown backbone ?") in bridge.observer.events


def test_five_proposals_in_a_row_that_do_not_resolve_end_the_search(ledger):
    bridge = search(ledger, num_trials=16, space=lambda trial: {"model.backbone": f"?{trial.number}"})
    assert bridge.suggest("a") == Searcher.FINISHED
    assert isinstance(bridge.failure, SpaceError)
    assert "5 trials in a row failed for one reason: space.py: unknown backbone ?4" in str(bridge.failure)
    assert [row.state for row in ledger.rows()] == ["failed"] * 5


def test_an_unfinished_trial_that_does_not_resolve_fails_and_the_next_one_is_resumed(ledger):
    ledger.ask(lambda trial: {"model.backbone": "?"})  # an earlier version stored it as running
    ledger.ask(lambda trial: {"model.backbone": "small"})
    bridge = search(ledger)
    assert bridge.suggest("a")["assignment"].number == 1
    assert [row.state for row in ledger.rows()] == ["failed", "running"] and bridge.remaining == 8


def fails_at_two(trial):
    if trial.number == 2:
        raise SpaceError("space.py, line 7, trial 2: space(trial) failed: KeyError: 'x'")
    return propose(trial)


def test_an_error_of_the_space_ends_the_search_once_running_trials_have_ended(ledger):
    bridge = search(ledger, space=fails_at_two)
    for name in "ab":
        bridge.suggest(name)
    assert bridge.suggest("c") is None and "line 7, trial 2" in str(bridge.failure)  # a and b may come again
    for name in "ab":
        bridge.on_trial_complete(name, epoch(1, 0.5, finished=True))
    assert bridge.suggest("d") == Searcher.FINISHED
    assert [row.state for row in ledger.rows()] == ["complete"] * 2  # trial 2 was not stored
    assert search(ledger).suggest("a")["assignment"].number == 2


def test_nothing_is_run_twice_and_an_exhausted_space_ends_the_search(ledger):
    bridge = search(ledger, repeat=True)
    seen = [bridge.suggest(name)["assignment"].overrides["model.backbone"] for name in "ab"]
    assert sorted(seen) == ["large", "small"]
    bridge.on_trial_complete("a", failed("the loss is nan"))
    assert bridge.suggest("c") is None and bridge.exhausted  # b may come again
    bridge.on_trial_complete("b", epoch(1, 0.5, finished=True))
    assert bridge.suggest("d") == Searcher.FINISHED and bridge.failure is None and len(bridge.tried) == 2
    assert len(ledger.rows()) == 2
    again = search(ledger, repeat=True)  # a failed one is not run again either
    assert again.suggest("a") == Searcher.FINISHED and again.exhausted


def test_what_a_limit_left_out_is_tried_once_the_limit_allows_it(ledger):
    limited = search(ledger, repeat=True, limits=Limits(max_params=2_000_000))
    assert limited.suggest("a")["assignment"].overrides == {"model.backbone": "small"}
    limited.on_trial_complete("a", epoch(1, 0.5, finished=True))
    assert limited.suggest("b") == Searcher.FINISHED and limited.exhausted and limited.failure is None
    assert sum(row.left_out for row in ledger.rows()) == 1
    same = search(ledger, repeat=True, limits=Limits(max_params=2_000_000))
    assert same.suggest("a") == Searcher.FINISHED and sum(row.left_out for row in ledger.rows()) == 1
    wider = search(ledger, repeat=True)
    assert wider.suggest("a")["assignment"].overrides == {"model.backbone": "large"}


def test_of_a_grid_nothing_but_its_own_configurations_is_run(ledger):
    ledger.queue([{"model.backbone": "small"}])
    bridge = search(ledger, is_grid=True)
    assert bridge.suggest("a")["assignment"].overrides == {"model.backbone": "small"}
    bridge.on_trial_complete("a", epoch(1, 0.5, finished=True))
    assert bridge.suggest("b") == Searcher.FINISHED and bridge.exhausted


def test_a_queued_configuration_outside_the_space_fails_and_the_next_one_runs(ledger):
    ledger.queue([{"model.backbone": "medium"}, {"model.backbone": "large"}])
    bridge = search(ledger)
    assert bridge.suggest("a")["assignment"].overrides == {"model.backbone": "large"}
    assert [row.state for row in ledger.rows()] == ["failed", "running"] and bridge.remaining == 8
