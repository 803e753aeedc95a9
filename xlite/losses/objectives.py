"""The training loss of a run: the supervised part and its distillation, for each kind of target."""

import numpy as np
import torch
from torch import Tensor

from xlite.config import RunConfig
from xlite.losses.classes import ClassLoss, cross_entropy, make_class_loss
from xlite.losses.distillation import combine, cumulative_kd, real_parts, sigmoid_kd, softmax_kd
from xlite.losses.multilabel import SupervisedLoss, make_supervised_loss

_FOCAL_GAMMA = 2.0  # of the extra focal term where the loss itself has no modulation


class MultilabelObjective:
    """Supervised loss, sigmoid distillation and an optional focal term, label by label."""

    def __init__(self, supervised: SupervisedLoss, config: RunConfig) -> None:
        self.loss = supervised
        self.distill = config.distill

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its parts, and "soft" and "kd_focal" where used}; see `distill.losses.combine`."""
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
        """The supervised loss alone."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


class ClassObjective:
    """Supervised loss, softmax or (CORAL) cumulative distillation, and an optional focal term."""

    def __init__(self, supervised: ClassLoss, config: RunConfig) -> None:
        self.loss = supervised
        self.distill = config.distill
        self.kd = cumulative_kd if config.model.head == "coral" else softmax_kd

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss", "hard", its parts, and "soft" and "kd_focal" where used}; see `distill.losses.combine`."""
        self.loss = self.loss.to(logits.device)
        hard = self.loss(logits, targets)
        soft = extra = None
        if self.distill.alpha > 0:
            assert teacher_logits is not None
            real = real_parts(teacher_logits)
            soft = self.kd(logits, teacher_logits, temperature=self.distill.temperature, real=real)
        if self.distill.focal_weight > 0:
            gamma = self.loss.config.class_gamma or _FOCAL_GAMMA
            extra = cross_entropy(logits, targets, gamma=gamma)
        return combine(hard, soft, config=self.distill, focal=extra)

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss alone."""
        self.loss = self.loss.to(logits.device)
        with torch.no_grad():
            return self.loss(logits, targets)["hard"]


def multilabel_objective(config: RunConfig, targets: np.ndarray) -> MultilabelObjective:
    """The loss of a configuration; label weights come from the training targets (R, L)."""
    return MultilabelObjective(make_supervised_loss(config.loss, targets), config)


def class_objective(config: RunConfig, targets: np.ndarray) -> ClassObjective:
    """The loss of a configuration; class weights come from the training targets (R, ..., K).

    Raises:
        InputError: its weights do not fit the classes.
    """
    return ClassObjective(make_class_loss(config.loss, targets), config)
