"""What the steps train: made-up images with labels that can be learned, and runs of real configurations on them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.models.build import build_model
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.batch_loader import Batch, BatchLoader
from xlite.train.run import TrainingRun

STUDENTS = ("mobilenetv3_small_100", "mobilenetv3_large_100", "efficientnet_b0", "convnext_tiny")
"""Those of search_spaces/kd.py."""
TOY = "mobilenetv3_small_050"
TEACHER = "densenet121"
NUM_LABELS = 14
NIH_TRAIN, NIH_SUBSET = 78_484, 15_697
"""Training images of 70% of NIH ChestX-ray14, and of a fifth of it, on which a search is timed."""


def images(folder: Path, *, px: int, num_train: int, num_val: int, distinct: int) -> Dataset:
    """Grey images of noise, in which each label that is present is a brighter block; 15% of the labels are wrong.

    The same arguments give the same, also in another process.

    Args:
        distinct: images in the pixel file, which the examples repeat; their targets repeat with them.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 160, (distinct, px, px), dtype=np.uint8)
    present = rng.random((distinct, NUM_LABELS)) < 0.3
    side = px // 4
    for label in range(NUM_LABELS):
        top, left = label // 4 * side, label % 4 * side
        pixels[present[:, label], top : top + side // 2, left : left + side // 2] += 60
    file = folder / f"{px}px_{distinct}.npy"
    if not file.exists():
        np.save(file, pixels)
    targets = (present ^ (rng.random(present.shape) < 0.15)).astype(np.float32)
    num = num_train + num_val
    rows = np.arange(num) % distinct
    names = np.array([f"{number:06}" for number in range(num)])
    return Dataset(
        file,
        f"made up {px} {distinct}",
        rows,
        names,
        names,
        targets[rows],
        tuple(f"label{number}" for number in range(NUM_LABELS)),
        {"train": np.arange(num_train), "val": np.arange(num_train, num), "test": np.arange(0)},
        "made up",
        InputSpec("image", (px, px)),
    )


def config_of(dataset: Dataset, **changes: Any) -> RunConfig:
    """A configuration for these images, from random weights; changes as dotted keys with `__` for the dot."""
    own = {key.replace("__", "."): value for key, value in changes.items()}
    base = {"model.backbone": TOY, "data.image_size": dataset.input_spec.image_size, "train.step": "plain"}
    return RunConfig().override({**base, **own}, source="check")


def run_of(dataset: Dataset, device: Device, **changes: Any) -> TrainingRun:
    """A run of `config_of`; every epoch shows other views."""
    return TrainingRun(config_of(dataset, **changes), CHESTXRAY14, dataset, device)


def batches(run: TrainingRun, num: int) -> list[Batch]:
    """The first batches of a run, on its device, with made-up answers of a teacher where it distils."""
    loader = BatchLoader(run)
    loaded = [loader.load(draw)[0] for draw in loader.plan(0)[:num]]
    synchronise(run.device)
    if run.config.distill.alpha == 0:
        return loaded
    return [replace(batch, teacher_logits=torch.randn_like(batch.targets)) for batch in loaded]


def untrained_teacher(backbone: str, dataset: Dataset, device: Device) -> Teacher:
    """A teacher of random weights: what it answers costs as much as what a trained one does."""
    config = RunConfig().override({"model.backbone": backbone}, source="check").model
    model = device.move(build_model(config, num_labels=len(dataset.labels), seed=0)).eval().requires_grad_(False)
    about = {"model": {"backbone": backbone}}
    spec = dataset.input_spec
    return Teacher((OwnModel(model, spec.image_size, about, f"untrained {backbone}", spec),), spec)


def exact_device(kind: str) -> Device:
    """float32 without TF32, and convolutions that repeat: for comparing numbers."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return choose_device("fp32", kind=kind)


def synchronise(device: Device) -> None:
    """Wait until the device has done what it was told."""
    if device.on_gpu:
        torch.cuda.synchronize(device.torch_device)


def relative(ours: torch.Tensor, theirs: torch.Tensor, *, floor: float = 1e-12) -> float:
    """The largest difference over the largest value, or `floor` where that is more."""
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=floor))


def median(values: Sequence[float]) -> float:
    """Of at least one."""
    return float(np.median(np.asarray(values)))
