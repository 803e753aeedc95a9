"""What the peers of `benchmarks/search.py` share: a PyTorch loop over PNG files, beside a live teacher.

Student, losses and AUC are X-Lite's, so that only the machinery differs.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from xlite.config import RunConfig
from xlite.data.balance import sample_weights
from xlite.losses.objectives import multilabel_objective
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.models.build import build_model
from xlite.tasks.binary_targets import log_odds


class PngImages(Dataset):
    """(image (S, S) uint8, targets (L,)) of the preprocessed images of one part."""

    def __init__(self, folder: Path, part: str, augment: A.Compose | None) -> None:
        table = np.load(folder / "table.npz")
        chosen = table["part"] == part
        self.files = [str(folder / "images" / name) for name in table["name"][chosen]]
        self.targets = torch.from_numpy(table["targets"][chosen])
        self.labels = table["labels"].tolist()
        self.augment = augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = cv2.imread(self.files[index], cv2.IMREAD_GRAYSCALE)
        if self.augment is not None:
            image = self.augment(image=image)["image"]
        return torch.from_numpy(image), self.targets[index]


def augmentation(seed: int) -> A.Compose:
    """The preset "medium" of the project."""
    cv2.setNumThreads(1)
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=15, p=0.7, border_mode=cv2.BORDER_CONSTANT),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        ],
        seed=seed,
    )


def seed_worker(worker: int) -> None:
    """Without this every worker would draw the same augmentations."""
    dataset = torch.utils.data.get_worker_info().dataset
    if dataset.augment is not None:
        dataset.augment.set_random_seed(torch.initial_seed() % 2**32)


def loader(dataset: PngImages, workers: int, **options: Any) -> DataLoader:
    """Batches by `workers` processes that live as long as the run."""
    return DataLoader(
        dataset, num_workers=workers, persistent_workers=workers > 0, worker_init_fn=seed_worker, **options
    )


def configuration(folder: Path, chosen: dict[str, Any]) -> RunConfig:
    """What the space chose, over the study's base."""
    base = json.loads((folder / "base.json").read_text())
    return RunConfig().override({**base, **chosen}, source="space")


def train(config: RunConfig, folder: Path, teacher: nn.Module, *, workers: int) -> Iterator[dict[str, Any]]:
    """Train one configuration; {"epoch", "value", "seconds"} after each epoch: validation macro AUC, time by kind."""
    torch.manual_seed(config.train.seed)
    train_set = PngImages(folder, "train", augmentation(config.train.seed))
    val_set = PngImages(folder, "val", None)
    targets = train_set.targets.numpy()
    weights = None if config.data.sampler == "none" else sample_weights(targets, how=config.data.sampler)
    train_loader = loader(
        train_set,
        workers,
        batch_size=config.optim.batch_size,
        sampler=None if weights is None else WeightedRandomSampler(weights, len(weights)),
        shuffle=weights is None,
        drop_last=True,
    )
    val_loader = loader(val_set, workers, batch_size=256)
    student = build_model(config.model, num_labels=targets.shape[1], bias=log_odds(targets), seed=config.train.seed)
    objective = multilabel_objective(config, targets)
    optimizer, per_step, per_epoch = optimisation(student, config, len(train_loader))
    for epoch in range(1, config.train.epochs + 1):
        seconds = dict.fromkeys(("data", "teacher", "step", "evaluation"), 0.0)
        student.train()
        started = time.perf_counter()
        for images, truth in train_loader:
            loaded = time.perf_counter()
            heard = None
            if config.distill.alpha > 0:
                with torch.no_grad():
                    heard = teacher(images)
            asked = time.perf_counter()
            optimizer.zero_grad()
            objective(student(images), truth, heard)["loss"].backward()
            nn.utils.clip_grad_norm_(student.parameters(), config.optim.clip_norm)
            optimizer.step()
            if per_step is not None:
                per_step.step()
            ended = time.perf_counter()
            seconds["data"] += loaded - started
            seconds["teacher"] += asked - loaded
            seconds["step"] += ended - asked
            started = ended
        value = validate(student, val_loader)
        if per_epoch is not None:
            per_epoch.step(value)
        seconds["evaluation"] = time.perf_counter() - started
        yield {"epoch": epoch, "value": value, "seconds": seconds}


def optimisation(student: nn.Module, config: RunConfig, steps_per_epoch: int) -> tuple[Any, Any, Any]:
    """AdamW, no decay of biases and norms; a schedule stepped each batch, or one stepped each epoch with the AUC."""
    optim = config.optim
    groups = [
        {"params": [p for p in student.parameters() if p.ndim > 1], "weight_decay": optim.weight_decay},
        {"params": [p for p in student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=optim.learning_rate, fused=True)
    if optim.schedule == "cosine":
        total = config.train.epochs * steps_per_epoch
        floor = 0.01 * optim.learning_rate
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=floor), None
    return (
        optimizer,
        None,
        torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, "max", factor=optim.plateau_factor, patience=optim.plateau_patience, threshold=0.0
        ),
    )


@torch.no_grad()
def validate(student: nn.Module, val_loader: DataLoader) -> float:
    """Macro AUC on the validation part."""
    student.eval()
    batches = [(torch.sigmoid(student(images)).numpy(), truth.numpy()) for images, truth in val_loader]
    probabilities, targets = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return evaluate_multilabel(probabilities, targets, val_loader.dataset.labels).scalars["auc_macro"]


def write_report(file: Path, trial: int | str, report: dict[str, Any]) -> None:
    """Append a line; the driver reads the curve from these."""
    with file.open("a") as lines:
        lines.write(json.dumps({"time": time.time(), "trial": trial, **report}) + "\n")


def argument_parser(description: str | None, *, workers: int) -> argparse.ArgumentParser:
    """The options that every peer has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--teacher", "--space", "--reports"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--trials", "--epochs", "--seed"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--workers", type=int, default=workers, help="processes of a DataLoader")
    return parser
