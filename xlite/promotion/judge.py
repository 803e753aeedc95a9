"""What models of a promotion answer on one part of the data, judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import nn

from xlite.data.dataset import Dataset
from xlite.data.split import Part
from xlite.device import Device
from xlite.metrics.multilabel import Evaluation
from xlite.tasks.target_spec import TargetSpec
from xlite.train.inference import predict_logits


@dataclass(frozen=True)
class Judged:
    """What models answer on one part: answers and targets (N, ..., L), groups (N,), L labels, and the metrics."""

    answers: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    labels: tuple[str, ...]
    evaluation: Evaluation

    def cross_fitted(self, target_spec: TargetSpec) -> "Judged":
        """With metrics at thresholds that no judged row helped to choose."""
        evaluation = target_spec.cross_fit(self.evaluation, self.answers, self.targets, self.labels, groups=self.groups)
        return replace(self, evaluation=evaluation)

    def at_thresholds(self, target_spec: TargetSpec, thresholds: Mapping[str, float]) -> "Judged":
        """With metrics at these thresholds."""
        evaluation = target_spec.at_thresholds(
            self.evaluation, self.answers, self.targets, self.labels, thresholds=thresholds
        )
        return replace(self, evaluation=evaluation)


def judge(models: Sequence[nn.Module], target_spec: TargetSpec, dataset: Dataset, part: Part, device: Device) -> Judged:
    """The models' mean logits on one part of the data, judged."""
    answers, targets, groups = ask(models, target_spec, dataset, part, device)
    return Judged(answers, targets, groups, dataset.labels, target_spec.judge(answers, targets, dataset.labels))


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


def together(parts: Sequence[Judged], target_spec: TargetSpec) -> Judged:
    """All parts as one."""
    if len(parts) == 1:
        return parts[0]
    answers, targets, groups = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("answers", "targets", "groups")
    )
    labels = parts[0].labels
    return Judged(answers, targets, groups, labels, target_spec.judge(answers, targets, labels))
