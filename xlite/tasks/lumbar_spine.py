"""Lumbar spine MR: grading spinal canal stenosis at five levels, from sagittal T2 series in RSNA 2024's layout."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xlite.config import DataConfig
from xlite.console import ProgressCallback
from xlite.data.phantom.lumbar import lumbar_phantom_folder, write_lumbar_phantom
from xlite.data.slices import SlicePreprocess, augment_slices
from xlite.data.sources import ParsedDataset
from xlite.data.sources.rsna import read_rsna
from xlite.metrics.classes import evaluate_classes
from xlite.metrics.weighted import weighted_classes
from xlite.tasks.target_spec import ORDINAL
from xlite.tasks.task import Budget, Defaults, Task

COMPETITION_WEIGHTS = (1.0, 2.0, 4.0)
"""RSNA 2024's weights of Normal/Mild, Moderate, Severe, in its weighted log loss."""
NUM_SLICES = 7
PHANTOM_STUDIES = 120
PHANTOM_PX = 128


def _read(folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]) -> ParsedDataset:
    return read_rsna(folder, allow_missing=allow_missing, num_slices=NUM_SLICES)


def _preprocess(data: DataConfig, reading: ParsedDataset) -> SlicePreprocess:
    return SlicePreprocess(image_size=data.image_size, num_slices=NUM_SLICES)


def _write_phantom(root: Path, progress: ProgressCallback | None) -> Path:
    folder = lumbar_phantom_folder(root, num_studies=PHANTOM_STUDIES, image_px=PHANTOM_PX, seed=0)
    write_lumbar_phantom(folder, num_studies=PHANTOM_STUDIES, image_px=PHANTOM_PX, seed=0, progress=progress)
    return folder


# No defaults "cpu_pretrained": a stack is 7 images, so that an epoch of backbones with published weights, at the size
# that these need, takes many minutes on a CPU.
_CONFIG = {
    "model.architecture": "slices",
    "model.num_slices": NUM_SLICES,
    "loss.class_weights": "1,2,4",
}

LUMBAR_SPINE = Task(
    name="lumbar_spine",
    title="RSNA 2024 lumbar spine, spinal canal stenosis",
    read=_read,
    preprocess=_preprocess,
    declared_target_spec=replace(
        ORDINAL,
        evaluate=partial(evaluate_classes, class_weights=COMPETITION_WEIGHTS, ordinal=True),
        weighted=partial(weighted_classes, class_weights=COMPETITION_WEIGHTS, ordinal=True),
        metrics={**ORDINAL.metrics, "weighted_log_loss": "min"},
    ),
    write_phantom=_write_phantom,
    augment=augment_slices,
    defaults={
        "cpu": Defaults(
            space="lumbar_kd_cpu.py",
            baselines="baselines_cpu.py",
            budget=Budget(teacher_epochs=12, num_trials=16, max_epochs=12, promote_epochs=12),
            demo_budget=Budget(teacher_epochs=10, num_trials=8, max_epochs=10, promote_epochs=10),
            config={**_CONFIG, "data.image_size": 48, "data.augmentation": "light", "model.level_dim": 32},
            teacher={
                "model.backbone": "mobilenetv3_small_100",
                "optim.learning_rate": 2e-3,
                "optim.schedule": "cosine",
                "optim.batch_size": 16,
            },
            folds=5,
        ),
        "cuda": Defaults(
            space="lumbar_kd.py",
            baselines="baselines.py",
            budget=Budget(teacher_epochs=15, num_trials=32, max_epochs=15, promote_epochs=15),
            demo_budget=Budget(teacher_epochs=6, num_trials=12, max_epochs=8, promote_epochs=8),
            config={**_CONFIG, "data.image_size": 256, "optim.freeze_epochs": 2, "optim.warmup_epochs": 1},
            teacher={
                "model.backbone": "tf_efficientnetv2_m",
                "model.pretrained": True,
                "optim.learning_rate": 1e-4,
                "optim.schedule": "cosine",
                "optim.batch_size": 16,
                # To fit 12 GB. An estimate, not measured on a GPU: autograd saves 1.07 GiB for a stack at 256 px
                # (counted on a CPU with `torch.autograd.graph.saved_tensors_hooks` in float32, halved for bf16), so
                # 17.1 GiB for 16 stacks, 4.3 for 4; weights, gradients and optimiser take 1.1 GiB beside that.
                "train.micro_batches": 4,
            },
            folds=5,
        ),
    },
)
