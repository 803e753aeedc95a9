"""NIH ChestX-ray14: 14 findings, several at once, from grey chest radiographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xlite.config import DistillConfig, RunConfig
from xlite.console import ProgressCallback
from xlite.data.balance import sample_weights
from xlite.data.phantom.chest_dataset import phantom_folder, write_phantom
from xlite.data.sources.nih import read_nih
from xlite.distill.losses import combine, sigmoid_kd
from xlite.losses import SupervisedLoss, make_supervised_loss
from xlite.metrics import evaluate_multilabel, weighted_macro_auc
from xlite.models.student import build_student
from xlite.tasks.task import Budget, Defaults, Task
from xlite.thresholds import choose_thresholds

PHANTOM_IMAGES = 1000
PHANTOM_PX = 256


class MultilabelObjective:
    """Supervised loss, sigmoid distillation and an optional focal term, label by label."""

    def __init__(self, supervised: SupervisedLoss, config: RunConfig) -> None:
        self.loss = supervised
        self.distill: DistillConfig = config.distill

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


def make_objective(config: RunConfig, targets: np.ndarray) -> MultilabelObjective:
    """The loss of a configuration; label weights come from the training targets (R, L)."""
    return MultilabelObjective(make_supervised_loss(config.loss, targets), config)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Independent probabilities, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def prevalence(targets: np.ndarray) -> Sequence[float] | None:
    """Share of positives among each label's known targets (R, L); 0.5 where nothing is known."""
    known = np.isfinite(targets)
    positives = np.where(known, targets, 0).sum(axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, positives / np.maximum(count, 1), 0.5).tolist()


def _sample_weights(targets: np.ndarray, sampler: str) -> np.ndarray | None:
    return None if sampler == "none" else sample_weights(targets, how=sampler)  # type: ignore[arg-type]


def _write_phantom(root: Path, progress: ProgressCallback | None) -> Path:
    folder = phantom_folder(root, num_images=PHANTOM_IMAGES, image_px=PHANTOM_PX, seed=0)
    write_phantom(folder, num_images=PHANTOM_IMAGES, image_px=PHANTOM_PX, seed=0, progress=progress)
    return folder


CHESTXRAY14 = Task(
    name="chestxray14",
    title="NIH ChestX-ray14, 14 findings",
    target_kind="multilabel",
    read=read_nih,
    write_phantom=_write_phantom,
    build_model=build_student,
    make_objective=make_objective,
    probabilities=sigmoid,
    evaluate=evaluate_multilabel,
    prior=prevalence,
    sample_weights=_sample_weights,
    bootstrap=weighted_macro_auc,
    choose_thresholds=choose_thresholds,
    defaults={
        "cpu": Defaults(
            space="kd_cpu.py",
            budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=15, promote_epochs=15),
            demo_budget=Budget(teacher_epochs=6, num_trials=10, max_epochs=10, promote_epochs=10),
            config={"data.image_size": 64},
            teacher={
                "model.backbone": "resnet18",
                "model.pretrained": False,
                "optim.learning_rate": 1e-3,
                "optim.schedule": "cosine",
            },
        ),
        "cuda": Defaults(
            space="kd.py",
            budget=Budget(teacher_epochs=20, num_trials=32, max_epochs=20, promote_epochs=50),
            demo_budget=Budget(teacher_epochs=8, num_trials=16, max_epochs=8, promote_epochs=8),
            config={"data.image_size": 224},
            teacher={
                "model.backbone": "densenet121",
                "model.pretrained": True,
                "optim.learning_rate": 1e-4,
                "optim.schedule": "cosine",
                "optim.warmup_epochs": 1,
            },
        ),
    },
)
