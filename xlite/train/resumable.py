"""Training whose progress is on disk: the same call resumes where an ended process stopped."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xlite.config import RunConfig, flatten
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.models.artifact import save_artifact
from xlite.storage.files import wait_for_disk_space
from xlite.tasks.task import Task
from xlite.train.checkpoint import Checkpoint, Checkpoints
from xlite.train.description import after_epoch, describe_model
from xlite.train.events import EventWriter
from xlite.train.loop import EpochReport, fit
from xlite.train.summary import NO_RUN, RunSummary

HOW = ("train.step", "train.micro_batches")
"""Keys that say how a step is computed: a run that ran out of memory is resumed with others."""


@dataclass(frozen=True)
class EpochResult:
    """A run as of its last finished epoch; all of it is on disk.

    Attributes:
        stop: as in EpochReport.
        report: of this epoch; None where an earlier process trained it.
    """

    summary: RunSummary
    stop: str
    report: EpochReport | None

    @property
    def epoch(self) -> int:
        """1-based."""
        return self.summary.epochs

    @property
    def best_value(self) -> float:
        """The best of the task's metric so far."""
        return self.summary.best_value


def train_resumable(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    *,
    folder: Path,
    stem: str,
    device: Device,
    bank: Bank | None = None,
    num_views: int | None = None,
    hyper_parameters: Mapping[str, Any] | None = None,
    events_folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Iterator[EpochResult]:
    """`fit`, with everything kept in `folder` after each epoch. The caller holds the folder's lock.

    Kept are: TensorBoard events, the checkpoint, and `<stem>.safetensors` and `.json` of the best epoch. Where an
    earlier process got somewhere with this very run, its last epoch is given first, then come the ones after it.

    Args:
        hyper_parameters: shown with the events; None writes no events.
        events_folder: where those go, if not into `folder`.
        about: JSON that joins the model's description.

    Raises:
        As `fit`; OSError when the disk stays full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, stem, identity=_identity(config, dataset, device, bank, num_views))
    earlier = checkpoints.load()
    summary = NO_RUN
    events = None
    if hyper_parameters is not None:
        done = len(earlier.progress.history) if earlier else 0
        events = EventWriter(
            events_folder or folder,
            hyper_parameters,
            metric=task.metric,
            label_metric=task.target_spec.columns.per_label,
            purge_from=done + 1,
        )
    keeper = _Keeper(folder, stem, checkpoints, events, config, task, dataset, dict(about or {}))
    try:
        if earlier is not None:
            keeper.repair(earlier)
            summary = RunSummary.from_json(earlier.about["summary"], source=str(folder))
            yield EpochResult(summary, earlier.about["stop"], None)
            if earlier.about["stop"]:
                return
        summary = replace(summary, config=flatten(config), device=device.name)
        start = None if earlier is None else earlier.progress
        cpu_s, counted_s = summary.device_seconds or 0.0, time.process_time()
        for report in fit(config, task, dataset, device=device, bank=bank, num_views=num_views, start=start):
            start = earlier = None  # the tensors are not held for longer than needed
            summary = after_epoch(summary, report, metric=task.metric)
            if not device.on_gpu:
                summary = replace(summary, device_seconds=round(cpu_s + time.process_time() - counted_s, 3))
            started = time.perf_counter()
            keeper.write(report, summary)
            summary = summary.with_seconds({"checkpoint": time.perf_counter() - started})
            yield EpochResult(summary, report.stop, report)
    finally:
        if events is not None:
            events.close()


@dataclass(frozen=True)
class _Keeper:
    """Writes what is kept of one run."""

    folder: Path
    stem: str
    checkpoints: Checkpoints
    events: EventWriter | None
    config: RunConfig
    task: Task
    dataset: Dataset
    about: Mapping[str, Any]

    def write(self, report: EpochReport, summary: RunSummary) -> None:
        """Store an epoch, in an order that lets the next process repair whatever a kill left out.

        Events that a checkpoint does not cover are purged, and a best model is in the checkpoint of its epoch too.
        """
        progress = report.progress()
        wait_for_disk_space(self.folder, 3 * sum(t.numel() * t.element_size() for t in progress.tensors.values()))
        if self.events is not None:
            self.events.add(report)
        description: dict[str, Any] | None = None
        if report.best_state is not None:
            description = describe_model(report, config=self.config, task=self.task, dataset=self.dataset, **self.about)
        about = {"stop": report.stop, "summary": summary.to_json(), "description": description}
        self.checkpoints.save(Checkpoint(progress, about))
        if report.best_state is not None and description is not None:
            save_artifact(self.folder, self.stem, report.best_state, description, repeatedly=True)

    def repair(self, checkpoint: Checkpoint) -> None:
        """Write the best model if its epoch is the checkpoint's: a process may have ended between the two."""
        if checkpoint.about["description"] is None:
            return
        prefix = "model."
        state = {
            name.removeprefix(prefix): value
            for name, value in checkpoint.progress.tensors.items()
            if name.startswith(prefix)
        }
        save_artifact(self.folder, self.stem, state, checkpoint.about["description"], repeatedly=True)


def _identity(
    config: RunConfig, dataset: Dataset, device: Device, bank: Bank | None, num_views: int | None
) -> dict[str, Any]:
    return {
        "config": {key: value for key, value in flatten(config).items() if key not in HOW},
        "data": dataset.train_hash(),
        "split": dataset.split_hash,
        "bank": bank.folder.name if bank else None,
        "num_views": bank.num_views if bank else num_views,
        "device": [device.torch_device.type, str(device.autocast_dtype)],
    }
