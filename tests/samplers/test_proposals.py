"""Which sampler proposes a trial, and the imputed trials that the Gaussian process is fitted to."""

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


def imputed(sampling: Sampling) -> list[FrozenTrial]:
    """The trials that the next Gaussian process would be fitted to."""
    return sampling.history.for_gaussian_process()


def kind_of(sampling: Sampling) -> type:
    """The sampler of the trial started last; of a model, Optuna's."""
    sampler = sampling._study.sampler
    return type(sampler.sampler) if isinstance(sampler, proposals.ModelBased) else type(sampler)


HYPERCUBE, MUTATION = proposals.LatinHypercube, proposals.LocalMutation
GP, TPE = optuna.samplers.GPSampler, optuna.samplers.TPESampler


def test_hypercube_then_gaussian_process_then_tpe_with_a_mutation_every_second_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proposals, "MAX_GP_TRIALS", 9)
    sampling, used = Sampling([], seed=0, num_startup=4), []
    for number in range(16):
        trial, _ = sampling.start()
        value = trial.suggest_float("x", 0.0, 1.0) + trial.suggest_categorical("size", list(range(20)))
        state = FAIL if number == 2 else PRUNED if number == 3 else COMPLETE
        sampling.finish(number, state, None if state == FAIL else value)
        used.append(kind_of(sampling))
    # the failed trial does not count towards the four startup trials
    assert used == [HYPERCUBE] * 5 + [MUTATION, GP, MUTATION, GP, MUTATION, GP, MUTATION, TPE, MUTATION, TPE, MUTATION]


X = optuna.distributions.FloatDistribution(0.0, 1.0)
KIND = optuna.distributions.CategoricalDistribution(["a", "b"])
SIZE = optuna.distributions.CategoricalDistribution([1, 2, 3])


def choices_and_numbers(trial: optuna.Trial) -> dict[str, Any]:
    """Two choices, a number, and one more number for kind b."""
    chosen = {"x": trial.suggest_float("x", 0.0, 1.0), "kind": trial.suggest_categorical("kind", ["a", "b"])}
    chosen["size"] = trial.suggest_categorical("size", [1, 2, 3])
    return chosen | ({"z": trial.suggest_float("z", 2.0, 3.0)} if chosen["kind"] == "b" else {})


def ended(x: float, kind: str, size: int, value: float | None, state: TrialState = COMPLETE) -> FrozenTrial:
    """A trial of an earlier process, of kind a or b (without its z)."""
    params, ranges = {"x": x, "kind": kind, "size": size}, {"x": X, "kind": KIND, "size": SIZE}
    return optuna.trial.create_trial(state=state, params=params, distributions=ranges, value=value)


def mutations(tried: list[FrozenTrial], count: int) -> list[dict[str, Any]]:
    """The first `count` mutations in a study of `tried`, all of which fail."""
    sampling, out = Sampling(tried, seed=0, num_startup=1), []
    for _ in range(20):
        trial, _ = sampling.start()
        chosen = choices_and_numbers(trial)
        if kind_of(sampling) is MUTATION:
            out.append(chosen)
        sampling.finish(trial.number, FAIL, None)
    assert len(out) >= count
    return out[:count]


def test_a_mutation_is_the_best_trial_with_one_choice_changed_to_an_untried_combination() -> None:
    tried = [ended(0.1, "a", 1, 0.9), ended(0.2, "b", 2, 0.5), ended(0.3, "a", 3, 0.4), ended(0.4, "b", 1, 0.1)]
    (only,) = mutations(tried, 1)
    assert only == {"x": 0.1, "kind": "a", "size": 2}  # (b, 1) and (a, 3) were tried
    found = mutations(tried[:1], 2)
    assert {(one["kind"], one["size"]) for one in found} < {("b", 1), ("a", 2), ("a", 3)} and found[0] != found[1]
    assert all(one["x"] == 0.1 and 2 <= one.get("z", 2) <= 3 for one in found)


def test_a_pruned_trial_may_be_the_best_but_not_a_failed_one() -> None:
    tried = [ended(0.1, "a", 1, 0.7), ended(0.2, "b", 2, 0.8, PRUNED), ended(0.3, "a", 3, None, FAIL)]
    (only,) = mutations(tried, 1)
    assert only["x"] == 0.2 and (only["kind"], only["size"]) in {("a", 2), ("b", 1), ("b", 3)}


def test_failed_trials_count_as_tried_and_those_that_share_no_choice_do_not() -> None:
    failed = [ended(0.3, kind, size, None, FAIL) for kind, size in (("b", 1), ("a", 2), ("a", 3))]
    sampling = Sampling([ended(0.1, "a", 1, 0.9), *failed], seed=0, num_startup=1)
    assert proposals.local_mutation(sampling.history, 0) is None
    other = optuna.trial.create_trial(params={"y": 0.5}, distributions={"y": X}, value=0.1)
    assert mutations([ended(0.1, "a", 1, 0.9), other], 1)[0]["x"] == 0.1


def test_once_all_mutations_were_tried_every_trial_is_modelled() -> None:
    sampling = Sampling([ended(0.1, "a", 1, 0.9), ended(0.2, "b", 1, 0.5)], seed=0, num_startup=1)
    used, mutated = [], set()
    for _ in range(8):
        trial, _ = sampling.start()
        chosen = choices_and_numbers(trial)
        used.append(kind_of(sampling))
        if used[-1] is MUTATION:
            mutated.add((chosen["kind"], chosen["size"]))
        sampling.finish(trial.number, COMPLETE, 0.1)
    assert used == [GP, MUTATION, GP, MUTATION, GP, GP, GP, GP]
    assert mutated == {("a", 2), ("a", 3)}


def test_a_pruned_trial_gets_the_mean_later_gain_of_complete_ones() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    run(sampling, COMPLETE, (0.5, 0.6, 0.8))
    run(sampling, COMPLETE, (0.4, 0.7, 0.7))
    run(sampling, PRUNED, (0.3,))  # they gained 0.3 each after the first epoch
    run(sampling, PRUNED, (0.3, 0.55))  # 0.2 and 0.0 after the second
    run(sampling, PRUNED, (0.1, 0.1, 0.55, 0.55))  # no complete trial got that far
    trials = imputed(sampling)
    assert [trial.value for trial in trials] == pytest.approx([0.8, 0.7, 0.6, 0.65, 0.55])
    assert {trial.state for trial in trials} == {COMPLETE}
    states = [sampling.trial(number).state for number in range(5)]
    assert states == [COMPLETE, COMPLETE, PRUNED, PRUNED, PRUNED]  # the study's own are unchanged


def test_values_are_clipped_as_far_below_the_median_as_the_best_is_above_it() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    for value in (0.88, 0.5, 0.86, 0.84, 0.87, 0.85, 0.1):
        run(sampling, COMPLETE, (value,))
    assert [trial.value for trial in imputed(sampling)] == pytest.approx([0.88, 0.82, 0.86, 0.84, 0.87, 0.85, 0.82])
    run(sampling, FAIL)  # as bad as any; with it the median is 0.845
    trials = [trial.value for trial in imputed(sampling)]
    assert trials == pytest.approx([0.88, 0.81, 0.86, 0.84, 0.87, 0.85, 0.81, 0.1])


def test_failed_trials_get_the_lowest_value_and_running_ones_stay_running() -> None:
    sampling = Sampling([], seed=0, num_startup=100)
    run(sampling, COMPLETE, (0.5,))
    run(sampling, FAIL)
    run(sampling, PRUNED, (0.2,))
    space(sampling.start()[0])
    trials = imputed(sampling)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.value for trial in trials] == [0.5, 0.2, 0.2, None]
    assert trials[3].state == TrialState.RUNNING
    assert trials[3].params.keys() >= {"x", "y", "kind"}


def test_a_conditional_parameter_is_imputed_with_the_middle_of_its_range() -> None:
    sampling = Sampling([], seed=0, num_startup=8)
    chosen = [run(sampling) for _ in range(8)]
    assert {values["kind"] for values in chosen} == {"a", "b"}
    space(sampling.start()[0])
    trials = imputed(sampling)
    assert {frozenset(trial.params) for trial in trials} == {frozenset("xyz") | {"kind"}}
    assert [trial.params["z"] for trial in trials[:8]] == [values.get("z", 2.5) for values in chosen]
    assert all("z" not in sampling.trial(n).params for n, values in enumerate(chosen) if "z" not in values)


def test_a_parameter_whose_range_changes_is_left_out_of_the_model() -> None:
    sampling = Sampling([], seed=0, num_startup=2)
    for number in range(6):
        trial, _ = sampling.start()
        value = trial.suggest_float("x", 0.0, 1.0) + trial.suggest_float("wider", 0.0, 1.0 + number)
        sampling.finish(trial.number, COMPLETE, value)
    assert sampling.history.joint_space().keys() == {"x"}
    assert all(trial.params.keys() == {"x", "wider"} for trial in imputed(sampling))


def test_the_trial_being_asked_for_is_left_out() -> None:
    """Even where no parameter is common to all, so that it lacks none."""
    sampling = Sampling([], seed=0, num_startup=9)
    for name in "xy":
        trial, _ = sampling.start()
        sampling.finish(trial.number, COMPLETE, trial.suggest_float(name, 0.0, 1.0))
    asked, _ = sampling.start()
    assert [trial.number for trial in imputed(sampling)] == [0, 1]
    asked.suggest_float("x", 0.0, 1.0)
    assert [trial.number for trial in imputed(sampling)] == [0, 1, 2]


def test_at_most_as_many_failed_as_ended_trials_are_used_and_none_whose_space_raised() -> None:
    sampling = Sampling([], seed=1, num_startup=100)
    for state in (COMPLETE, COMPLETE, FAIL, FAIL, FAIL):
        run(sampling, state, (0.5,))
    trial, _ = sampling.start()
    trial.suggest_float("x", 0.0, 1.0)  # then the space raised
    sampling.finish(trial.number, FAIL, None)
    assert [trial.number for trial in imputed(sampling)] == [0, 1, 3, 4]


def test_25_trials_come_close_to_the_optimum_of_a_smooth_function() -> None:
    """25 random draws come within 0.02 in about half of all searches."""
    found = []
    for seed in range(4):
        sampling = Sampling([], seed=seed, num_startup=5)
        found.append(max(score(run(sampling)) for _ in range(25)))
    assert min(found) > 0.999


def test_a_region_where_all_trials_fail_is_avoided() -> None:
    """E.g. students above a size limit: without failed trials the model would find that half the most promising."""
    sampling = Sampling([], seed=1, num_startup=4)
    kinds = []
    for _ in range(34):
        trial, _ = sampling.start()
        chosen = space(trial)
        if kind_of(sampling) is GP:
            kinds.append(chosen["kind"])
        fails = chosen["kind"] == "b"
        sampling.finish(trial.number, FAIL if fails else COMPLETE, None if fails else score(chosen))
    assert len(kinds) >= 12
    assert kinds[-12:].count("b") <= 1


def test_parallel_trials_differ() -> None:
    sampling = Sampling([], seed=0, num_startup=5)
    for _ in range(8):
        run(sampling)
    first, second = (space(sampling.start()[0]) for _ in range(2))
    assert np.hypot(first["x"] - second["x"], first["y"] - second["y"]) > 0.01 or first["kind"] != second["kind"]


def test_a_space_without_common_parameters_is_searched() -> None:
    def branches(trial: optuna.Trial) -> dict[str, Any]:
        name = "even" if trial.number % 2 == 0 else "odd"
        return {name: trial.suggest_float(name, 0.0, 1.0)}

    sampling = Sampling([], seed=0, num_startup=3)
    for _ in range(8):
        trial, _ = sampling.start()
        (value,) = branches(trial).values()
        assert 0 <= value <= 1
        sampling.finish(trial.number, COMPLETE, value)
