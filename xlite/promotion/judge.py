"""What models of a promotion answer on one part of the data, judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import nn

from xlite.data.dataset import Dataset
from xlite.data.split import Part
from xlite.device import Device
from xlite.metrics.intervals import MetricIntervals
from xlite.metrics.multilabel import Evaluation
from xlite.tasks.target_spec import TargetSpec
from xlite.train.inference import predict_logits


@dataclass(frozen=True)
class Judged:
    """What models answer on one part, judged.

    Attributes:
        answers, targets: (N, ..., L); groups: (N,); labels: L names.
        evaluation: the metrics of these N rows.
        positions: (N,) of the rows in their data set.
    """

    answers: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    labels: tuple[str, ...]
    evaluation: Evaluation
    positions: np.ndarray

    def cross_fitted(self, target_spec: TargetSpec, method: str, *, estimate: bool) -> "Judged":
        """With metrics at thresholds that no judged row helped to choose; see `TargetSpec.cross_fit`."""
        evaluation = target_spec.cross_fit(
            self.evaluation,
            self.answers,
            self.targets,
            self.labels,
            groups=self.groups,
            method=method,
            estimate=estimate,
        )
        return replace(self, evaluation=evaluation)

    def at_thresholds(self, target_spec: TargetSpec, thresholds: Mapping[str, float]) -> "Judged":
        """With metrics at these thresholds."""
        evaluation = target_spec.at_thresholds(
            self.evaluation, self.answers, self.targets, self.labels, thresholds=thresholds
        )
        return replace(self, evaluation=evaluation)

    def intervals(self, target_spec: TargetSpec, thresholds: Mapping[str, float], *, seed: int) -> MetricIntervals:
        """Of every metric; those at thresholds are of these, groups (patients) resampled."""
        return target_spec.intervals(
            self.answers, self.targets, self.labels, groups=self.groups, thresholds=thresholds, seed=seed
        )


def judge(models: Sequence[nn.Module], target_spec: TargetSpec, dataset: Dataset, part: Part, device: Device) -> Judged:
    """The models' mean logits on one part of the data, judged."""
    answers, targets, groups = ask(models, target_spec, dataset, part, device)
    evaluation = target_spec.judge(answers, targets, dataset.labels)
    return Judged(answers, targets, groups, dataset.labels, evaluation, dataset.part(part))


def ask(
    models: Sequence[nn.Module],
    target_spec: TargetSpec,
    dataset: Dataset,
    part: Part | Literal["held_out"],
    device: Device,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of the models' mean logits and targets (N, ..., L), groups (N,), not judged: one class may be all."""
    positions = dataset.part(part)
    logits = np.mean([predict_logits(model, dataset, positions, device=device) for model in models], axis=0)
    return target_spec.probabilities(logits), dataset.targets[positions], dataset.groups[positions]


def by_repeat(parts: Sequence[Judged], repeats: Sequence[int], target_spec: TargetSpec) -> list[Judged]:
    """What the models of each repeat answered; `repeats` are the models' numbers of it."""
    return [
        together([part for part, own in zip(parts, repeats, strict=True) if own == repeat], target_spec)
        for repeat in dict.fromkeys(repeats)
    ]


def mean_over(repeats: Sequence[Judged], target_spec: TargetSpec) -> Judged:
    """Of repeats with an answer for every row each: each row's mean answer, judged.

    A row counts once, however often it was judged, or intervals would be too narrow. So the metrics are those of the
    mean answers; the metric of each repeat by itself is `values_of`.
    """
    if len(repeats) == 1:
        return repeats[0]
    orders = [np.argsort(each.positions) for each in repeats]
    first, order = repeats[0], orders[0]
    positions, targets, groups = first.positions[order], first.targets[order], first.groups[order]
    for each, own in zip(repeats, orders, strict=True):
        assert np.array_equal(each.positions[own], positions), "repeats judge the same rows"
    answers = np.mean([each.answers[own] for each, own in zip(repeats, orders, strict=True)], axis=0)
    evaluation = target_spec.judge(answers, targets, first.labels)
    return Judged(answers, targets, groups, first.labels, evaluation, positions)


def values_of(repeats: Sequence[Judged], metric: str) -> tuple[float, ...]:
    """The metric of each of several repeats by itself; () of a single one."""
    return tuple(each.evaluation.scalars[metric] for each in repeats) if len(repeats) > 1 else ()


def together(parts: Sequence[Judged], target_spec: TargetSpec) -> Judged:
    """All parts as one."""
    if len(parts) == 1:
        return parts[0]
    answers, targets, groups, positions = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("answers", "targets", "groups", "positions")
    )
    labels = parts[0].labels
    return Judged(answers, targets, groups, labels, target_spec.judge(answers, targets, labels), positions)
