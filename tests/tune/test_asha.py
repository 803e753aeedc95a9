"""ASHA on scripted curves: exact decisions, and the same ones after its rungs came back from the ledger."""

from types import SimpleNamespace

import numpy as np
import pytest

from xlite.study.rungs import expected_epochs, first_rung, rungs
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY, ResumableASHA


def play(scheduler, name, curve):
    """Epochs the trial lives, told best-so-far."""
    trial = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)
    for epoch, value in enumerate(np.maximum.accumulate(curve), start=1):
        if scheduler.on_trial_result(None, trial, {EPOCH_KEY: epoch, VALUE_KEY: value}) == "STOP":
            return epoch
    return len(curve)


def flat(value, epochs=9):
    return [value] * epochs


def test_rungs_start_after_the_warm_up_and_grow_by_three():
    assert rungs(15, first_rung(15, 0, 50_000)) == [1, 3, 9]
    assert rungs(15, first_rung(15, 1, 50_000)) == [2, 6]
    assert first_rung(15, 5, 50_000) == 6
    assert first_rung(120, 0, 50_000) == 3
    assert first_rung(1, 0, 50_000) == 1 and rungs(1, 1) == []


def test_the_first_rung_waits_for_3500_images_but_not_for_more_than_half_the_budget():
    assert [first_rung(30, 0, num) for num in (15_697, 3_500, 3_499, 1_097, 698, 48)] == [1, 1, 2, 4, 6, 15]
    assert [first_rung(10, 0, num) for num in (698, 1_200, 48)] == [5, 3, 5]
    assert [first_rung(budget, 0, 48) for budget in (1, 2, 4, 6, 7, 9)] == [1, 2, 3, 3, 3, 4]


def test_a_trial_cut_off_at_a_rung_is_decided_as_if_it_had_not_been():
    values = np.random.default_rng(1).random(30)
    for cut in (1, 2, 3, 4, 9):  # the ledger's last epoch of the last trial; rungs are 1, 3, 9
        whole, continued = ResumableASHA(27, 1), ResumableASHA(27, 1)
        for i, v in enumerate(values[:-1]):
            lives = play(whole, f"t{i}", flat(v, 27))
            curve = dict.fromkeys(range(1, lives + 1), v)
            continued.replay({i: curve})
        value = float(np.quantile(values, 0.9))
        expected = play(whole, "last", flat(value, 27))
        continued.replay_unfinished("last", dict.fromkeys(range(1, min(cut, expected) + 1), value))
        trial = SimpleNamespace(trial_id="last")
        continued.on_trial_add(None, trial)
        lived = 27
        for epoch in range(min(cut, expected), 28):  # its last epoch is told again
            if continued.on_trial_result(None, trial, {EPOCH_KEY: epoch, VALUE_KEY: value}) == "STOP":
                lived = epoch
                break
        assert lived == expected


def test_a_trial_that_comes_again_under_another_id_counts_once():
    asha = ResumableASHA(9, 1)
    for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        play(asha, name, flat(value))
    rungs_of = [recorded for bracket in asha._brackets for _, recorded in bracket._rungs]
    assert any("c" in recorded for recorded in rungs_of)
    asha.forget("c")
    assert all("c" not in recorded for recorded in rungs_of) and any("b" in recorded for recorded in rungs_of)


def test_outside_the_best_third_at_a_rung_is_stopped_there():
    asha = ResumableASHA(9, 2)
    lives = [play(asha, f"t{i}", flat(v)) for i, v in enumerate([0.6, 0.7, 0.5, 0.65, 0.8])]
    # rung 2 holds 0.6, 0.7, 0.5 when 0.65 comes: its 67th percentile is 0.633; rung 6 holds 0.6, 0.7: 0.667
    assert lives == [9, 9, 2, 6, 9]
    assert {"t2", "t3"} <= asha.stopped


def test_a_trial_is_judged_by_its_best_epoch_not_its_last():
    asha = ResumableASHA(9, 2)
    play(asha, "first", flat(0.6))
    assert play(asha, "falls", [0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]) == 9


def test_replayed_rungs_decide_as_the_uninterrupted_ones():
    values = np.random.default_rng(0).random(40)
    whole = ResumableASHA(9, 1)
    lives = [play(whole, f"t{i}", flat(v)) for i, v in enumerate(values)]
    curves = {i: dict.fromkeys(range(1, lives[i] + 1), v) for i, v in enumerate(values[:25])}
    continued = ResumableASHA(9, 1)
    continued.replay(curves)
    assert [play(continued, f"t{i}", flat(v)) for i, v in enumerate(values[25:], start=25)] == lives[25:]


def test_a_trial_is_expected_to_last_as_long_as_its_rungs_let_it():
    assert expected_epochs(15, 3) == pytest.approx(3 + 6 / 3 + 6 / 9)
    assert expected_epochs(15, 0) == 15


def test_replay_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    ResumableASHA(9, 1).replay({0: {1: 0.5}})
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("max_epochs", [1, 2, 5, 15, 50])
def test_the_first_rung_is_within_the_budget(max_epochs):
    assert 1 <= first_rung(max_epochs, 3, 100) <= max_epochs


def test_a_replayed_decision_is_not_a_stop():
    asha = ResumableASHA(9, 1)
    asha.replay({0: {1: 0.9}, 1: {1: 0.8}, 2: {1: 0.7}})
    asha.replay_unfinished("weak", {1: 0.1, 2: 0.1})
    assert asha.stopped == set()


def test_the_private_attributes_that_are_read_are_still_there():
    (bracket,) = ResumableASHA(9, 1)._brackets
    assert [milestone for milestone, _ in bracket._rungs] == [9, 3, 1], "ray 2.60 had these; adapt xlite/tune/asha.py"
