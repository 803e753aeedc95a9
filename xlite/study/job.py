"""What every trial of a study shares, and the folder each has."""

from dataclasses import dataclass
from pathlib import Path

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.distill.bank import Bank
from xlite.gpu.limits import Sharing

TRACES = "hung.txt"
"""In a trial's folder while it is in an epoch; after a hang it says where."""
GPU_FAULTS = "gpu_faults.txt"
"""In a trial's folder: a line for each fault that took the GPU from its process, which then ended."""
STUDENT = "student"
"""Stem of a trial's model files."""


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; sent to each worker once.

    Attributes:
        task: name or module:NAME; kind: of its targets in this data.
        base: the configuration a trial's overrides are laid over.
        sharing: how trials share a GPU; None on CPU.
        pause_s: rest after an epoch, to spare the power supply.
        hang_limit_s: a trial that finishes no epoch in this time is ended.
    """

    task: str
    kind: str
    base: RunConfig
    dataset: Dataset
    bank: Bank | None
    folder: Path
    sharing: Sharing | None = None
    pause_s: float = 0.0
    hang_limit_s: float = 3600.0


def trial_folder(study_folder: Path, number: int) -> Path:
    """`trials/00012` of a study."""
    return study_folder / "trials" / f"{number:05d}"


def has_begun(study_folder: Path, number: int) -> bool:
    """Whether a trial whose process died was in an epoch: the file for its traces is there."""
    return (trial_folder(study_folder, number) / TRACES).exists()


def forget_cut_off_epoch(study_folder: Path, number: int) -> None:
    """Remove that file where a killed process left it, and faults of the GPU; what a hang wrote stays."""
    traces = trial_folder(study_folder, number) / TRACES
    if traces.exists() and not traces.stat().st_size:
        traces.unlink()
    (trial_folder(study_folder, number) / GPU_FAULTS).unlink(missing_ok=True)
