"""The training loss of a run, supervised and distilled, for each kind of target."""

import numpy as np
import torch
from torch import Tensor

from xlite.config import RunConfig
from xlite.losses.classes import ClassLoss, cross_entropy, make_class_loss
from xlite.losses.distillation import combine, cumulative_kd, sigmoid_kd, softmax_kd, unpadded
from xlite.losses.multilabel import SupervisedLoss, make_supervised_loss

_FOCAL_GAMMA = 2.0  # of the extra focal term where the loss itself is not modulated


class MultilabelObjective:
    """Supervised loss, sigmoid distillation and an optional focal term for logits (B, L) of independent labels."""

    def __init__(self, supervised: SupervisedLoss, config: RunConfig) -> None:
        self.loss = supervised
        self.distill = config.distill

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its terms, and "soft" and "kd_focal" where used}; see `losses.distillation.combine`."""
        self.loss = self.loss.to(logits.device)
        hard = self.loss(logits, targets)
        soft = extra = None
        if self.distill.alpha > 0:
            assert teacher_logits is not None
            soft = sigmoid_kd(logits, teacher_logits, temperature=self.distill.temperature)
        if self.distill.focal_weight > 0:
            extra = self.loss.focal(logits, targets)
        return combine(hard, soft, config=self.distill, focal=extra)

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss alone, a scalar without gradient."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


class ClassObjective:
    """Supervised loss, softmax or (CORAL) cumulative distillation and an optional focal term for logits (B, ..., K)."""

    def __init__(self, supervised: ClassLoss, config: RunConfig) -> None:
        self.loss = supervised
        self.distill = config.distill
        self.kd = cumulative_kd if config.model.head == "coral" else softmax_kd

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its terms, and "soft" and "kd_focal" where used}; see `losses.distillation.combine`."""
        self.loss = self.loss.to(logits.device)
        hard = self.loss(logits, targets)
        soft = extra = None
        if self.distill.alpha > 0:
            assert teacher_logits is not None
            mask = unpadded(teacher_logits)
            soft = self.kd(logits, teacher_logits, temperature=self.distill.temperature, mask=mask)
        if self.distill.focal_weight > 0:
            gamma = self.loss.config.class_gamma or _FOCAL_GAMMA
            extra = cross_entropy(logits, targets, gamma=gamma)
        return combine(hard, soft, config=self.distill, focal=extra)

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss alone, a scalar without gradient."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


def multilabel_objective(config: RunConfig, targets: np.ndarray) -> MultilabelObjective:
    """The configured loss, its label weights computed from the training targets (R, L)."""
    return MultilabelObjective(make_supervised_loss(config.loss, targets), config)


def class_objective(config: RunConfig, targets: np.ndarray) -> ClassObjective:
    """The configured loss, its class weights computed from the training targets (R, ..., K).

    Raises:
        InputError: its weights do not fit the classes.
    """
    return ClassObjective(make_class_loss(config.loss, targets), config)
