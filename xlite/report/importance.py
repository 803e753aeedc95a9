"""Which parameters the complete trials' values hang on: fANOVA, with intervals and the level chance reaches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from xlite.report.sections import Section, markdown_table, not_enough

MIN_TRIALS = 16
"""Complete trials below which nothing is said."""
NUM_RESAMPLES = 50
MOST_RESAMPLED = 64
"""Trials in a resample or shuffle. fANOVA takes time with their square; so intervals and chance level of larger studies
are those of so many trials, wider and higher than they could be."""
_FEW = 4
_NUM_TREES, _NUM_TREES_RESAMPLED = 64, 8  # the few trees of a resample widen its interval a little


@dataclass(frozen=True)
class Importance:
    """One parameter's share of all importance, the shares summing to 1, with its 95% interval."""

    key: str
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Importances:
    """What fANOVA finds.

    Attributes:
        parameters: largest first.
        chance: the share that the largest reaches in 95% of studies with shuffled values.
        conditional: parameters left out, since only some trials have them.
    """

    parameters: tuple[Importance, ...]
    chance: float
    num_trials: int
    conditional: tuple[str, ...]


def importances(trials: Sequence[FrozenTrial], *, seed: int = 0) -> Importances | None:
    """Importances of the parameters that vary and that every trial has; None where these are fewer than two.

    fANOVA (Hutter et al., ICML 2014) finds an effect in a few dozen trials, where Optuna's PED-ANOVA, which looks at
    the best few only, does not. Intervals are from a bootstrap over trials: the evaluator's seeds alone would show the
    forest's noise, not the study's. A share is never negative, so its interval cannot show that it is more than chance;
    `chance` is there for that.

    Args:
        trials: complete, at least MIN_TRIALS.
    """
    assert len(trials) >= MIN_TRIALS, len(trials)
    parameters, distributions = _parameters(trials)
    keys = [key for key in distributions if all(key in chosen for chosen in parameters)]
    if len(keys) < 2:
        return None
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    if np.ptp(values) == 0:
        return None
    chosen = [{key: one[key] for key in keys} for one in parameters]
    varied = {key: distributions[key] for key in keys}
    rng = np.random.default_rng([seed, 4])
    everything, size = np.arange(len(trials)), min(len(trials), MOST_RESAMPLED)

    def shares(rows: np.ndarray, values: np.ndarray, num_trees: int) -> list[float]:
        """In the order of `keys`; `values` belong to `rows`. Equal values say nothing: equal shares."""
        if np.ptp(values) == 0:
            return [1 / len(keys)] * len(keys)
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            optuna.trial.create_trial(params=chosen[row], distributions=varied, value=value)
            for row, value in zip(rows.tolist(), values.tolist(), strict=True)
        )
        evaluator = FanovaImportanceEvaluator(n_trees=num_trees, seed=int(rng.integers(2**31)))
        found = get_param_importances(study, evaluator=evaluator, params=keys)
        return [float(found[key]) for key in keys]

    whole = shares(everything, values, _NUM_TREES)
    draws = [rng.integers(len(trials), size=size) for _ in range(NUM_RESAMPLES)]
    resampled = [shares(rows, values[rows], _NUM_TREES_RESAMPLED) for rows in draws]
    shuffled = [
        max(shares(everything[:size], rng.permutation(values)[:size], _NUM_TREES_RESAMPLED))
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(np.array(resampled), [0.025, 0.975], axis=0)
    found = [
        Importance(key, share, min(float(low[i]), share), max(float(high[i]), share))
        for i, (key, share) in enumerate(zip(keys, whole, strict=True))
    ]
    return Importances(
        tuple(sorted(found, key=lambda one: -one.share)),
        float(np.quantile(shuffled, 0.95)),
        len(trials),
        tuple(key for key in distributions if key not in keys),
    )


def importance_section(found: Importances | None, num_trials: int, picture: str) -> Section:
    """The parameters by importance; a conclusion only for those above what chance reaches."""
    title = "Which parameters matter?"
    if num_trials < MIN_TRIALS:
        return Section(title, not_enough(num_trials, MIN_TRIALS))
    if found is None:
        return Section(title, "fewer than two parameters vary in every trial, so there is nothing to compare")
    standing_out = [one for one in found.parameters if one.share > found.chance]
    if standing_out:
        named = ", ".join(f"{one.key} {_with_interval(one)}" for one in standing_out)
        conclusion = f"Above what chance reaches ({found.chance:.0%}): {named}"
    else:
        first = found.parameters[0]
        conclusion = (
            f"None stands out: the first, {first.key} {_with_interval(first)}, is within what chance reaches "
            f"({found.chance:.0%})"
        )
    rows = [(f"`{one.key}`", f"{one.share:.1%}", f"{one.low:.1%} to {one.high:.1%}") for one in found.parameters]
    about = (
        f"fANOVA over {found.num_trials} complete trials: each parameter's share of the variance that single "
        "parameters explain. Intervals: 95%, bootstrap over trials. Chance: what the largest share stays below in 95% "
        "of shuffles."
    )
    body = [markdown_table(("parameter", "share", "95% interval"), rows), about]
    if len(found.parameters) < _FEW:
        body.append(f"Of only {len(found.parameters)} parameters one has a large share whatever happens.")
    if found.conditional:
        body.append(f"Left out, since only some trials have them: {', '.join(found.conditional)}.")
    return Section(title, conclusion, tuple(body), picture)


def _parameters(trials: Sequence[FrozenTrial]) -> tuple[list[dict[str, Any]], dict[str, BaseDistribution]]:
    """Each trial's parameters, and the distributions of those with more than one value in the study.

    A grid has overrides and no suggestions: its keys are choices among the values seen.
    """
    suggested = any(trial.params for trial in trials)
    parameters = [dict(trial.params if suggested else trial.user_attrs.get("overrides", {})) for trial in trials]
    distributions: dict[str, BaseDistribution] = {}
    for key in sorted({key for chosen in parameters for key in chosen}):
        seen = _distinct(parameters, key)
        if len(seen) > 1:
            ranges = [trial.distributions[key] for trial in trials if key in trial.distributions]
            distributions[key] = _spanning(ranges) if suggested else CategoricalDistribution(seen)
    return parameters, distributions


def _spanning(ranges: Sequence[BaseDistribution]) -> BaseDistribution:
    """One range that holds all of them: a parameter's may depend on another parameter."""
    first = ranges[0]
    numeric = [one for one in ranges if isinstance(one, FloatDistribution | IntDistribution)]
    if all(one == first for one in ranges):  # choices always are
        return first
    low, high = min(one.low for one in numeric), max(one.high for one in numeric)
    return FloatDistribution(low, high, log=numeric[0].log)


def _distinct(parameters: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    seen: list[Any] = []
    for chosen in parameters:
        if key in chosen and chosen[key] not in seen:
            seen.append(chosen[key])
    return seen


def _with_interval(one: Importance) -> str:
    return f"{one.share:.0%} [{one.low:.0%}, {one.high:.0%}]"
