"""The training loss of a run: supervised, distilled and focal terms, for each kind of target."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from xlite.config import DistillConfig, RunConfig
from xlite.losses.classes import make_class_loss
from xlite.losses.distillation import combine, cumulative_kd, sigmoid_kd, softmax_kd, unpadded
from xlite.losses.multilabel import make_supervised_loss


class HardLoss(Protocol):
    """A supervised loss, its weights fixed: `SupervisedLoss` or `ClassLoss`."""

    def __call__(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]: ...
    def focal(self, logits: Tensor, targets: Tensor) -> Tensor: ...
    def to(self, device: torch.device | str) -> Self: ...


class SoftLoss(Protocol):
    """A distillation loss."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor: ...


@dataclass
class DistillObjective:
    """Supervised loss, distillation loss and an optional focal term for logits (B, ..., L)."""

    loss: HardLoss
    soft: SoftLoss
    config: DistillConfig

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its terms, and "soft" and "kd_focal" where used}; see `losses.distillation.combine`."""
        self.loss = self.loss.to(logits.device)
        hard = self.loss(logits, targets)
        soft = extra = None
        if self.config.alpha > 0:
            assert teacher_logits is not None
            soft = self.soft(logits, teacher_logits, temperature=self.config.temperature)
        if self.config.focal_weight > 0:
            extra = self.loss.focal(logits, targets)
        return combine(hard, soft, config=self.config, focal=extra)

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss alone, a scalar without gradient."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


def multilabel_objective(config: RunConfig, targets: np.ndarray) -> DistillObjective:
    """The configured loss, its label weights computed from the training targets (R, L); sigmoid distillation."""
    return DistillObjective(make_supervised_loss(config.loss, targets), sigmoid_kd, config.distill)


def class_objective(config: RunConfig, targets: np.ndarray) -> DistillObjective:
    """The configured loss, its class weights computed from the training targets (R, ..., K).

    Distillation is softmax, or for a CORAL head cumulative.

    Raises:
        InputError: its weights do not fit the classes.
    """
    kd = cumulative_kd if config.model.head == "coral" else softmax_kd

    def soft(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
        return kd(student_logits, teacher_logits, temperature=temperature, mask=unpadded(teacher_logits))

    return DistillObjective(make_class_loss(config.loss, targets), soft, config.distill)
