"""STM scan lines: the class of every line of a scanning tunnelling microscope's scan, from the lines around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlite.config import DataConfig
from xlite.console import ProgressCallback
from xlite.data.phantom.stm import stm_phantom_folder, write_stm_phantom
from xlite.data.scan_lines import ScanLinePreprocess, augment_lines
from xlite.data.sources import ParsedDataset
from xlite.data.sources.stm import read_stm
from xlite.tasks.target_spec import MULTICLASS
from xlite.tasks.task import Budget, Defaults, Task

PHANTOM_SCANS, PHANTOM_LINES, PHANTOM_POINTS = 160, 128, 128


def _read(folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]) -> ParsedDataset:
    return read_stm(folder, allow_missing=allow_missing, window_lines=data.window_lines)


def _preprocess(data: DataConfig, reading: ParsedDataset) -> ScanLinePreprocess:
    return ScanLinePreprocess(points=data.image_size, window_lines=reading.table.targets.shape[1])


def _write_phantom(root: Path, progress: ProgressCallback | None) -> Path:
    size = {"num_scans": PHANTOM_SCANS, "lines": PHANTOM_LINES, "points": PHANTOM_POINTS, "seed": 0}
    folder = stm_phantom_folder(root, **size)
    write_stm_phantom(folder, **size, progress=progress)
    return folder


_CONFIG = {
    "model.architecture": "lines",
    "model.backbone": "scan_lines",
    "loss.class_weights": "balanced",
    "optim.schedule": "plateau",
    "optim.warmup_from": 1e-6,
}

STM_SCANLINES = Task(
    name="stm_scanlines",
    title="STM scan lines",
    read=_read,
    preprocess=_preprocess,
    declared_target_spec=MULTICLASS,
    write_phantom=_write_phantom,
    augment=augment_lines,
    defaults={
        "cpu": Defaults(
            space="stm_kd_cpu.py",
            baselines="stm_ablations.py",
            budget=Budget(teacher_epochs=30, num_trials=16, max_epochs=20, promote_epochs=20),
            demo_budget=Budget(teacher_epochs=30, num_trials=16, max_epochs=40, promote_epochs=40),
            config={**_CONFIG, "data.image_size": 32, "model.ffn_width": 128, "optim.warmup_epochs": 2},
            teacher={
                "model.layers": 4,
                "model.width": 128,
                "model.ffn_width": 256,
                "model.normalise_lines": False,
                "optim.learning_rate": 1e-3,
                "optim.batch_size": 16,
                "optim.schedule": "cosine",
            },
        ),
        "cuda": Defaults(
            space="stm_kd.py",
            baselines="stm_ablations.py",
            budget=Budget(teacher_epochs=50, num_trials=40, max_epochs=30, promote_epochs=50),
            demo_budget=Budget(teacher_epochs=15, num_trials=16, max_epochs=12, promote_epochs=15),
            config={**_CONFIG, "data.image_size": 128, "data.window_lines": 64, "optim.warmup_epochs": 2},
            teacher={
                "model.layers": 12,
                "model.width": 256,
                "optim.learning_rate": 1e-4,
                "optim.warmup_epochs": 5,
            },
        ),
    },
)
