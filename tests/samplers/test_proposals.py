"""What chooses the next trial: which sampler when, and what the Gaussian process is told of the trials before."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from xlite.samplers import proposals
from xlite.samplers.sampling import Sampling

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Two floats, a choice, and a parameter that only one branch has."""
    chosen = {name: trial.suggest_float(name, 0.0, 1.0) for name in "xy"}
    chosen["kind"] = trial.suggest_categorical("kind", ["a", "b"])
    if chosen["kind"] == "b":
        chosen["z"] = trial.suggest_float("z", 2.0, 3.0)
    return chosen


def score(chosen: dict[str, Any]) -> float:
    """Best, 1.0, at x 0.7, y 0.2 and kind b."""
    return 1 - (chosen["x"] - 0.7) ** 2 - (chosen["y"] - 0.2) ** 2 - 0.1 * (chosen["kind"] == "a")


def run(sampling: Sampling, state: TrialState = COMPLETE, curve: tuple[float, ...] = ()) -> dict[str, Any]:
    """A trial from its start to its end; with `curve` its best so far after every epoch."""
    trial, _ = sampling.start()
    chosen = space(trial)
    for epoch, value in enumerate(curve, start=1):
        sampling.report(trial.number, epoch, value)
    value = max(curve, default=score(chosen))
    sampling.finish(trial.number, state, None if state == FAIL else value)
    return chosen


def shown(sampling: Sampling) -> list[FrozenTrial]:
    """What a Gaussian process would be told next."""
    sampling._storage.show_all_as_complete()
    return sampling._study.get_trials(deepcopy=False)


def test_a_study_begins_spread_out_then_is_modelled_then_left_to_tpe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "MOST_MODELLED", 9)
    sampling, used = Sampling([], seed=0, num_startup=4), []
    for number in range(16):
        trial, _ = sampling.start()
        value = trial.suggest_float("x", 0.0, 1.0) + trial.suggest_categorical("size", list(range(20)))
        state = FAIL if number == 2 else PRUNED if number == 3 else COMPLETE
        sampling.finish(number, state, None if state == FAIL else value)
        used.append(type(sampling._study.sampler))
    near, model, tpe = proposals.LocalMutation, proposals.GaussianProcess, proposals.Tpe
    # the failed one counts for nothing; every second one asks no model
    assert used == [proposals.Spread] * 5 + [near, model, near, model, near, model, near, tpe, near, tpe, near]


X = optuna.distributions.FloatDistribution(0.0, 1.0)
KIND = optuna.distributions.CategoricalDistribution(["a", "b"])
SIZE = optuna.distributions.CategoricalDistribution([1, 2, 3])


def choices_and_numbers(trial: optuna.Trial) -> dict[str, Any]:
    """Two choices, a number, and one more number for kind b."""
    chosen = {"x": trial.suggest_float("x", 0.0, 1.0), "kind": trial.suggest_categorical("kind", ["a", "b"])}
    chosen["size"] = trial.suggest_categorical("size", [1, 2, 3])
    return chosen | ({"z": trial.suggest_float("z", 2.0, 3.0)} if chosen["kind"] == "b" else {})


def ended(x: float, kind: str, size: int, value: float | None, state: TrialState = COMPLETE) -> FrozenTrial:
    """A trial of kind a or b (without its z) as a study that is continued brings it along."""
    params, ranges = {"x": x, "kind": kind, "size": size}, {"x": X, "kind": KIND, "size": SIZE}
    return optuna.trial.create_trial(state=state, params=params, distributions=ranges, value=value)


def neighbours(tried: list[FrozenTrial], count: int) -> list[dict[str, Any]]:
    """So many, none of which comes to anything, in a study of `tried`."""
    sampling, out = Sampling(tried, seed=0, num_startup=1), []
    for _ in range(20):
        trial, _ = sampling.start()
        chosen = choices_and_numbers(trial)
        if isinstance(sampling._study.sampler, proposals.LocalMutation):
            out.append(chosen)
        sampling.finish(trial.number, FAIL, None)
    assert len(out) >= count
    return out[:count]


def test_a_neighbour_is_the_best_with_one_choice_made_otherwise_as_nobody_did() -> None:
    tried = [ended(0.1, "a", 1, 0.9), ended(0.2, "b", 2, 0.5), ended(0.3, "a", 3, 0.4), ended(0.4, "b", 1, 0.1)]
    (only,) = neighbours(tried, 1)
    assert only == {"x": 0.1, "kind": "a", "size": 2}  # of its others (b, 1) and (a, 3) were tried
    found = neighbours(tried[:1], 2)
    assert {(one["kind"], one["size"]) for one in found} < {("b", 1), ("a", 2), ("a", 3)} and found[0] != found[1]
    assert all(one["x"] == 0.1 and 2 <= one.get("z", 2) <= 3 for one in found)


def test_the_best_may_have_been_stopped_but_not_failed() -> None:
    tried = [ended(0.1, "a", 1, 0.7), ended(0.2, "b", 2, 0.8, PRUNED), ended(0.3, "a", 3, None, FAIL)]
    (only,) = neighbours(tried, 1)
    assert only["x"] == 0.2 and (only["kind"], only["size"]) in {("a", 2), ("b", 1), ("b", 3)}


def test_failed_trials_count_as_tried_and_those_that_share_no_choice_do_not() -> None:
    failed = [ended(0.3, kind, size, None, FAIL) for kind, size in (("b", 1), ("a", 2), ("a", 3))]
    sampling = Sampling([ended(0.1, "a", 1, 0.9), *failed], seed=0, num_startup=1)
    assert proposals._local_mutation(sampling._storage, 0) is None
    other = optuna.trial.create_trial(params={"y": 0.5}, distributions={"y": X}, value=0.1)
    assert neighbours([ended(0.1, "a", 1, 0.9), other], 1)[0]["x"] == 0.1


def test_where_all_choices_were_tried_the_model_asks() -> None:
    sampling, used = Sampling([ended(0.1, "a", 1, 0.9), ended(0.2, "b", 1, 0.5)], seed=0, num_startup=1), []
    tried = {("a", 1), ("b", 1)}
    for _ in range(20):
        trial, _ = sampling.start()
        chosen = choices_and_numbers(trial)
        used.append(isinstance(sampling._study.sampler, proposals.LocalMutation))
        assert used[-1] == (trial.number % 2 == 1 and not tried >= {("b", 1), ("a", 2), ("a", 3)})
        tried.add((chosen["kind"], chosen["size"]))
        sampling.finish(trial.number, COMPLETE, 0.1)
    assert True in used and not any(used[6:])


def test_a_stopped_trial_counts_with_what_complete_ones_still_gained() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    run(sampling, COMPLETE, (0.5, 0.6, 0.8))
    run(sampling, COMPLETE, (0.4, 0.7, 0.7))
    run(sampling, PRUNED, (0.3,))  # they gained 0.3 each after the first epoch
    run(sampling, PRUNED, (0.3, 0.55))  # 0.2 and 0.0 after the second
    run(sampling, PRUNED, (0.1, 0.1, 0.55, 0.55))  # nobody came that far
    told = shown(sampling)
    assert [trial.value for trial in told] == pytest.approx([0.8, 0.7, 0.6, 0.65, 0.55])
    assert {trial.state for trial in told} == {COMPLETE}
    states = [sampling.trial(number).state for number in range(5)]
    assert states == [COMPLETE, COMPLETE, PRUNED, PRUNED, PRUNED]  # told so, not changed


def test_none_counts_further_below_the_median_than_the_best_is_above_it() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    for value in (0.88, 0.5, 0.86, 0.84, 0.87, 0.85, 0.1):
        run(sampling, COMPLETE, (value,))
    assert [trial.value for trial in shown(sampling)] == pytest.approx([0.88, 0.82, 0.86, 0.84, 0.87, 0.85, 0.82])
    run(sampling, FAIL)  # as bad as any; with it the median is 0.845
    told = [trial.value for trial in shown(sampling)]
    assert told == pytest.approx([0.88, 0.81, 0.86, 0.84, 0.87, 0.85, 0.81, 0.1])


def test_failed_trials_count_as_the_worst_and_running_ones_as_running() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    run(sampling, COMPLETE, (0.5,))
    run(sampling, FAIL)
    run(sampling, PRUNED, (0.2,))
    space(sampling.start()[0])
    told = shown(sampling)
    assert [trial.number for trial in told] == [0, 1, 2, 3]
    assert [trial.value for trial in told] == [0.5, 0.2, 0.2, None]
    assert told[3].state == TrialState.RUNNING
    assert told[3].params.keys() >= {"x", "y", "kind"}


def test_a_parameter_that_only_some_trials_have_is_told_of_all() -> None:
    sampling = Sampling([], seed=0, num_startup=8)
    chosen = [run(sampling) for _ in range(8)]
    assert {values["kind"] for values in chosen} == {"a", "b"}
    space(sampling.start()[0])
    told = shown(sampling)
    assert {frozenset(trial.params) for trial in told} == {frozenset("xyz") | {"kind"}}
    assert [trial.params["z"] for trial in told[:8]] == [values.get("z", 2.5) for values in chosen]
    assert all("z" not in sampling.trial(n).params for n, values in enumerate(chosen) if "z" not in values)


def test_a_parameter_whose_range_changes_is_left_out_of_the_model() -> None:
    sampling = Sampling([], seed=0, num_startup=2)
    for number in range(6):
        trial, _ = sampling.start()
        value = trial.suggest_float("x", 0.0, 1.0) + trial.suggest_float("wider", 0.0, 1.0 + number)
        sampling.finish(trial.number, COMPLETE, value)
    assert sampling._storage.joint_space().keys() == {"x"}
    assert all(trial.params.keys() == {"x", "wider"} for trial in shown(sampling))


def test_the_trial_that_is_asked_for_is_not_told_of() -> None:
    """Nor where no parameter is common to all, so that it lacks none of them."""
    sampling = Sampling([], seed=0, num_startup=9)
    for name in "xy":
        trial, _ = sampling.start()
        sampling.finish(trial.number, COMPLETE, trial.suggest_float(name, 0.0, 1.0))
    asked, _ = sampling.start()
    assert [trial.number for trial in shown(sampling)] == [0, 1]
    asked.suggest_float("x", 0.0, 1.0)
    assert [trial.number for trial in shown(sampling)] == [0, 1, 2]


def test_of_failed_trials_few_are_shown_and_only_whole_ones() -> None:
    sampling = Sampling([], seed=1, num_startup=100)
    for state in (COMPLETE, COMPLETE, FAIL, FAIL, FAIL):
        run(sampling, state, (0.5,))
    trial, _ = sampling.start()
    trial.suggest_float("x", 0.0, 1.0)  # and then the space raised
    sampling.finish(trial.number, FAIL, None)
    assert [trial.number for trial in shown(sampling)] == [0, 1, 3, 4]


def test_few_trials_come_near_the_best_of_a_smooth_function() -> None:
    """Half of them are modelled. Random draws of as many come nearer than 0.02 in about half of all searches."""
    found = []
    for seed in range(4):
        sampling = Sampling([], seed=seed, num_startup=5)
        found.append(max(score(run(sampling)) for _ in range(25)))
    assert min(found) > 0.999


def test_where_everything_fails_is_left_alone() -> None:
    """As where students are above a size limit: the model would find the unknown half the most promising."""
    sampling = Sampling([], seed=1, num_startup=4)
    kinds = []
    for _ in range(34):
        trial, _ = sampling.start()
        chosen = space(trial)
        if isinstance(sampling._study.sampler, proposals.GaussianProcess):
            kinds.append(chosen["kind"])
        fails = chosen["kind"] == "b"
        sampling.finish(trial.number, FAIL if fails else COMPLETE, None if fails else score(chosen))
    assert len(kinds) >= 12
    assert kinds[-12:].count("b") <= 1


def test_trials_at_once_differ() -> None:
    sampling = Sampling([], seed=0, num_startup=5)
    for _ in range(8):
        run(sampling)
    first, second = (space(sampling.start()[0]) for _ in range(2))
    assert np.hypot(first["x"] - second["x"], first["y"] - second["y"]) > 0.01 or first["kind"] != second["kind"]


def test_a_space_without_common_parameters_is_searched_too() -> None:
    def branches(trial: optuna.Trial) -> dict[str, Any]:
        name = "even" if trial.number % 2 == 0 else "odd"
        return {name: trial.suggest_float(name, 0.0, 1.0)}

    sampling = Sampling([], seed=0, num_startup=3)
    for _ in range(8):
        trial, _ = sampling.start()
        (value,) = branches(trial).values()
        assert 0 <= value <= 1
        sampling.finish(trial.number, COMPLETE, value)
