"""ASHA with several objectives: who goes on at a rung, and the same after its rungs came back from the ledger."""

from types import SimpleNamespace

import numpy as np

from xlite.ledger import Objective
from xlite.models.limits import Cost
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY, ResumableASHA

BOTH = (Objective("auc_macro", "max"), Objective("size_mb", "min"))
METRICS = (Objective("auc_macro", "max"), Objective("hamming", "min"))


def play(asha, name, value, size_mb, epochs=9):
    """Epochs the trial lives with this value in each."""
    trial = SimpleNamespace(trial_id=name)
    asha.know(name, Cost(1, size_mb))
    asha.on_trial_add(None, trial)
    for epoch in range(1, epochs + 1):
        if asha.on_trial_result(None, trial, {EPOCH_KEY: epoch, VALUE_KEY: value}) == "STOP":
            return epoch
    return epochs


def test_a_small_student_goes_on_that_its_score_alone_would_stop():
    several, one = ResumableASHA(9, 4, BOTH), ResumableASHA(9, 4)  # one rung, after 4 epochs
    trials = [(0.8, 20.0), (0.82, 20.0), (0.78, 20.0), (0.6, 1.0)]  # the last: of four, the best two go on
    assert [play(several, f"t{i}", *trial) for i, trial in enumerate(trials)] == [9, 9, 4, 9]
    assert [play(one, f"t{i}", *trial) for i, trial in enumerate(trials)][-1] == 4


def test_a_dominated_trial_is_stopped_and_the_best_score_never():
    asha = ResumableASHA(9, 4, BOTH)
    assert [play(asha, f"t{i}", *each) for i, each in enumerate([(0.8, 5.0), (0.7, 6.0), (0.9, 50.0)])] == [9, 4, 9]


def test_as_many_go_on_as_with_one_objective():
    draw = np.random.default_rng(0)
    asha = ResumableASHA(9, 2, BOTH)
    lives = [play(asha, f"t{i}", draw.random(), draw.random()) for i in range(90)]
    assert 25 <= sum(life > 2 for life in lives) <= 45


def test_replayed_rungs_decide_as_the_uninterrupted_ones():
    draw = np.random.default_rng(1)
    trials = [(draw.random(), draw.random()) for _ in range(40)]
    whole, continued = ResumableASHA(9, 1, BOTH), ResumableASHA(9, 1, BOTH)
    lives = [play(whole, f"t{i}", *trial) for i, trial in enumerate(trials)]
    curves = {i: dict.fromkeys(range(1, lives[i] + 1), trials[i][0]) for i in range(25)}
    continued.replay(curves, {i: Cost(1, trials[i][1]) for i in range(25)})
    assert [play(continued, f"t{i}", *trials[i]) for i in range(25, 40)] == lives[25:]


def test_a_metric_without_a_curve_does_not_count():
    several, one = ResumableASHA(9, 1, METRICS), ResumableASHA(9, 1)
    values = np.random.default_rng(2).random(30)
    assert [play(several, f"t{i}", v, 1.0) for i, v in enumerate(values)] == [
        play(one, f"t{i}", v, 1.0) for i, v in enumerate(values)
    ]


def test_the_private_bracket_that_is_extended_is_still_there():
    from ray.tune.schedulers.async_hyperband import _Bracket

    assert set(_Bracket(1, 9, 3, 0).__dict__) == {"rf", "_rungs", "_stop_last_trials"}, "adapt xlite/tune/asha.py"
