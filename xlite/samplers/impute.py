"""Imputation for a Gaussian process, which takes only complete trials that have every parameter."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from statistics import fmean, median

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.samplers.latin_hypercube import quantile


def impute_values(ended: Sequence[FrozenTrial], failed: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """All of them as complete trials.

    A pruned trial gets its own value plus the mean gain of the complete ones after that epoch. No value is further
    below the median than the best is above it: students that never learn lie far from all others, and a model of the
    whole range would not resolve the differences between good ones. Failed trials, which includes those above a size
    limit, get the lowest value before this clipping, so that their region is avoided even when all others are as good
    as the best. At most as many failed trials as ended ones are used, the latest.
    """
    curves = [trial.intermediate_values for trial in ended if trial.state == TrialState.COMPLETE]
    values = [_extrapolated_value(trial, curves) for trial in ended]
    failed = failed[-len(ended) :] if ended else []
    worst = min(values, default=0.0)
    floor = 2 * median([*values, *[worst] * len(failed)]) - max(values) if values else 0.0
    complete = [_as_complete(trial, max(value, floor)) for trial, value in zip(ended, values, strict=True)]
    return complete + [_as_complete(trial, worst) for trial in failed]


def impute_parameters(trials: Iterable[FrozenTrial], space: Mapping[str, BaseDistribution]) -> list[FrozenTrial]:
    """Copies with all parameters of `space`; one that a trial lacks, or has with another range, gets the middle."""
    imputed = []
    for trial in trials:
        missing = {name: wanted for name, wanted in space.items() if trial.distributions.get(name) != wanted}
        trial = copy(trial)
        trial.params = trial.params | {name: quantile(wanted, 0.5) for name, wanted in missing.items()}
        trial.distributions = trial.distributions | missing
        imputed.append(trial)
    return imputed


def best_value(trial: FrozenTrial) -> float:
    """An ended trial's value, else the highest it reported, else 0."""
    return max(trial.intermediate_values.values(), default=0.0) if trial.value is None else trial.value


def _extrapolated_value(trial: FrozenTrial, complete: Sequence[Mapping[int, float]]) -> float:
    """The value of a complete trial; of a pruned one, what it would be with the mean gain of the `complete` curves.

    A curve gives the best value so far by epoch; those without the trial's last epoch do not count.
    """
    epoch, value = max(trial.intermediate_values, default=-1), best_value(trial)
    if trial.state == TrialState.COMPLETE:
        return value
    gains = [max(curve.values()) - curve[epoch] for curve in complete if epoch in curve]
    return value + (fmean(gains) if gains else 0.0)


def _as_complete(trial: FrozenTrial, value: float) -> FrozenTrial:
    trial = copy(trial)
    trial.state, trial.values = TrialState.COMPLETE, [value]
    return trial
