"""What a trial is given: what all trials of a study share, what is its own, and its folder."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlite.config import RunConfig, is_taught, model_name
from xlite.data.dataset import Dataset
from xlite.distill.bank import Bank
from xlite.gpu.limits import Sharing
from xlite.gpu.memory_policy import Attempt
from xlite.models.origins import Origins
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.hparams import RUNG, end_run

MAX_NAME = 100
STUDENT = "student"
"""Stem of a trial's model files."""


RUNS = "runs"
"""Folder of a study's TensorBoard runs."""


def run_name(number: int, config: Mapping[str, Any]) -> str:
    """What TensorBoard calls a trial: its number and main choices, in characters that any file system takes.

    Args:
        config: flat.
    """
    words = [model_name(config), config.get("model.attention")]
    if is_taught(config):
        temperature = config.get("distill.temperature")
        words += ["KD", temperature and f"T={temperature:.3g}"]
    name = " ".join(str(word) for word in words if word not in (None, "none"))
    return f"{number:05d} {re.sub(r'[^A-Za-z0-9._= +-]', '_', name)[:MAX_NAME]}".rstrip()


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; sent to each worker once.

    Attributes:
        task: name or module:NAME; kind: of its targets in this data.
        folders: where trials keep their files.
        origins: the weights that models start from.
        device_kind: the driver's, "cpu" or "cuda": a worker trains on nothing else.
        sharing: how trials share a GPU; None on a CPU.
        pause_s: rest after an epoch, to spare the power supply.
        hang_limit_s: a trial that finishes no epoch in this time is ended.
    """

    task: str
    kind: str
    dataset: Dataset
    bank: Bank | None
    folders: "TrialFolders"
    device_kind: str
    sharing: Sharing | None = None
    pause_s: float = 0.0
    hang_limit_s: float = 3600.0
    origins: Origins | None = None


@dataclass(frozen=True)
class Assignment:
    """One trial as a worker runs it.

    Attributes:
        number: in the ledger.
        overrides: dotted keys the trial's proposal chose; shown with its events.
        config: the whole configuration, checked, with the attempt's micro-batches.
    """

    number: int
    overrides: Mapping[str, Any]
    config: RunConfig
    attempt: Attempt


@dataclass(frozen=True)
class TrialFolders:
    """The folders of a study's trials.

    A trial's folder holds a file of traces while the trial is in an epoch: empty after its process died, with a stack
    trace after it hung. Another file has a line for each fault that took the GPU from the trial's process.

    Attributes:
        rungs: epochs at which trials are compared, the budget last; () where all run to the end.
    """

    study: Path
    rungs: tuple[int, ...] = ()

    def of(self, number: int) -> Path:
        """`trials/00012` of the study."""
        return self.study / "trials" / f"{number:05d}"

    def run(self, number: int, config: Mapping[str, Any]) -> Path:
        """The trial's TensorBoard run, e.g. `runs/00012 mobilenetv3_small_050 KD T=4`; an existing one keeps its name.

        Args:
            config: flat; the run is named after it.
        """
        there = sorted((self.study / RUNS).glob(f"{number:05d} *"))
        return there[0] if there else self.study / RUNS / run_name(number, config)

    def record_end(
        self, number: int, overrides: Mapping[str, Any], *, state: str, epoch: int, scalars: Mapping[str, float]
    ) -> None:
        """Write how a trial ended, the last rung it reached, and `scalars` by tag, into its TensorBoard run."""
        rung = {RUNG: max((rung for rung in self.rungs if rung <= epoch), default=0)} if self.rungs else {}
        with suppress(OSError):  # a full disk; the next start of the search writes it
            end_run(self.run(number, overrides), overrides, state=state, epoch=epoch, scalars={**scalars, **rung})

    def traces(self, number: int) -> Path:
        """The file of traces."""
        return self.of(number) / "hung.txt"

    def gpu_faults(self, number: int) -> Path:
        """The file of GPU faults."""
        return self.of(number) / "gpu_faults.txt"

    def has_begun(self, number: int) -> bool:
        """Whether a trial whose process died was in an epoch."""
        return self.traces(number).exists()

    def forget_interruption(self, number: int) -> None:
        """Remove what a killed process left: empty traces and GPU faults. The trace of a hang stays."""
        traces = self.traces(number)
        if traces.exists() and not traces.stat().st_size:
            traces.unlink()
        self.gpu_faults(number).unlink(missing_ok=True)

    def remove_checkpoints(self, number: int) -> None:
        """Remove the checkpoints of a trial that has ended."""
        remove_checkpoints(self.of(number), STUDENT)
