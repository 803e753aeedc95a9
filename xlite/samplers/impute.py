"""What a Gaussian process is told of a study's trials, since it knows only complete ones that have every parameter."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from statistics import fmean, median

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from xlite.samplers.latin_hypercube import value_at

JointSpace = Mapping[str, BaseDistribution]


def as_if_complete(ended: Sequence[FrozenTrial], failed: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """All of them as complete.

    A stopped one with the value that it would have come to: its own, and what complete ones still gained after that
    epoch, on average; none further below the median than the best is above it: students that never learn lie far from
    all others, and a model of the whole range does not see what the good ones differ in. Failed ones, or ones above a
    limit, with the lowest of all as it is, so that their like is left alone when all others are as good as the best; of
    these no more than of the others.
    """
    curves = [trial.intermediate_values for trial in ended if trial.state == TrialState.COMPLETE]
    values = [_expected(trial, curves) for trial in ended]
    failed = failed[-len(ended) :] if ended else []
    worst = min(values, default=0.0)
    lowest = 2 * median([*values, *[worst] * len(failed)]) - max(values) if values else 0.0
    told = [_complete(trial, max(value, lowest)) for trial, value in zip(ended, values, strict=True)]
    return told + [_complete(trial, worst) for trial in failed]


def filled(trials: Iterable[FrozenTrial], space: JointSpace) -> list[FrozenTrial]:
    """With all parameters of `space`: one that a trial has no use for stands in the middle of its range."""
    return [_filled(trial, space) for trial in trials]


def reached(trial: FrozenTrial) -> float:
    """The best of an ended trial, 0 if it told of none."""
    return max(trial.intermediate_values.values(), default=0.0) if trial.value is None else trial.value


def _expected(trial: FrozenTrial, complete: Sequence[Mapping[int, float]]) -> float:
    """A complete trial's own; else what `complete` curves, best so far by epoch, let expect of it."""
    epoch, value = max(trial.intermediate_values, default=-1), reached(trial)
    if trial.state == TrialState.COMPLETE:
        return value
    gains = [max(curve.values()) - curve[epoch] for curve in complete if epoch in curve]
    return value + (fmean(gains) if gains else 0.0)


def _complete(trial: FrozenTrial, value: float) -> FrozenTrial:
    out = copy(trial)
    out.state, out.values = TrialState.COMPLETE, [value]
    return out


def _filled(trial: FrozenTrial, space: JointSpace) -> FrozenTrial:
    out, there = copy(trial), trial.distributions
    missing = {name: wanted for name, wanted in space.items() if there.get(name) != wanted}
    out.params = trial.params | {name: value_at(wanted, 0.5) for name, wanted in missing.items()}
    out.distributions = there | missing
    return out
