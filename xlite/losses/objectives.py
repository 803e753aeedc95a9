"""The training loss of a run: supervised, distilled and focal terms, for each kind of target; which keys it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from xlite.config import DistillConfig, RunConfig
from xlite.losses.classes import canonical_class_loss, make_class_loss
from xlite.losses.distillation import combine, cumulative_kd, sigmoid_kd, softmax_kd, unpadded, without_gaps
from xlite.losses.multilabel import canonical_supervised, make_supervised_loss


class HardLoss(Protocol):
    """A supervised loss, its weights fixed: `SupervisedLoss` or `ClassLoss`."""

    def __call__(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]: ...
    def focal(self, logits: Tensor, targets: Tensor) -> Tensor: ...
    def to(self, device: torch.device | str) -> Self: ...


class SoftLoss(Protocol):
    """A soft loss of logits (B, ..., L); `mask` as in `losses.distillation`."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor: ...


@dataclass
class DistillObjective:
    """Supervised loss, soft loss and an optional focal term for logits (B, ..., L).

    Attributes:
        by_label: labels are independent; else they are exclusive classes.
        has_gaps: whether teacher logits may be NaN, which means no answer.
    """

    loss: HardLoss
    soft: SoftLoss
    config: DistillConfig
    by_label: bool
    has_gaps: bool = False

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its terms, and "soft" and "kd_focal" where used}; see `losses.distillation.combine`."""
        self.loss = self.loss.to(logits.device)
        hard = self.loss(logits, targets)
        soft = extra = None
        if self.config.alpha > 0:
            assert teacher_logits is not None
            mask = None if self.by_label else unpadded(teacher_logits)
            if self.has_gaps:
                teacher_logits, mask = without_gaps(teacher_logits, mask, by_label=self.by_label)
            soft = self.soft(logits, teacher_logits, mask=mask)
        if self.config.focal_weight > 0:
            extra = self.loss.focal(logits, targets)
        return combine(hard, soft, config=self.config, focal=extra)

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss alone, a scalar without gradient."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


def multilabel_objective(config: RunConfig, targets: np.ndarray) -> DistillObjective:
    """The configured loss, its label weights computed from the training targets (R, L); labels are distilled apart."""
    soft = partial(sigmoid_kd, temperature=config.distill.temperature)
    return DistillObjective(make_supervised_loss(config.loss, targets), soft, config.distill, by_label=True)


def class_objective(config: RunConfig, targets: np.ndarray) -> DistillObjective:
    """The configured loss, its class weights computed from the training targets (R, ..., K).

    Distillation is of classes, or for a CORAL head of P(Y > k).

    Raises:
        InputError: its weights do not fit the classes.
    """
    kd = cumulative_kd if config.model.head == "coral" else softmax_kd
    soft = partial(kd, temperature=config.distill.temperature)
    return DistillObjective(make_class_loss(config.loss, targets), soft, config.distill, by_label=False)


def canonical_objective(make_objective: Callable[..., Any], config: RunConfig) -> RunConfig:
    """`config` with every loss and distillation key that training does not read at its default.

    Two configurations give the same loss exactly where these are equal. An objective of your own may read every key.
    """
    if make_objective is multilabel_objective:
        canonical_loss = canonical_supervised
    elif make_objective is class_objective:
        canonical_loss = canonical_class_loss
    else:
        return config
    distill = config.distill
    loss = canonical_loss(config.loss, hard=distill.alpha < 1, focal=distill.focal_weight > 0)
    keys = {"alpha", "focal_weight"} | ({"temperature"} if distill.alpha > 0 else set())
    return config.model_copy(update={"loss": loss, "distill": distill.only(keys)})
