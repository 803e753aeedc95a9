"""Training with its progress on disk: the same call resumes where an ended process stopped."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xlite.config import flatten
from xlite.models.artifact import save_artifact
from xlite.storage.files import waits_for_disk_space, write_text
from xlite.train.checkpoint import Checkpoint, Checkpoints, unrecordable_file
from xlite.train.description import after_epoch, describe_model
from xlite.train.events import EventWriter
from xlite.train.loop import EpochReport, fit
from xlite.train.run import TrainingRun
from xlite.train.step import RecordingFailed, model_state
from xlite.train.summary import NO_RUN, RunSummary

_PLAIN = "{}: plain steps instead"


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


@dataclass(frozen=True)
class WaitsForDisk:
    """Yielded while the disk of `folder` is full; the run checks again when it is asked for its next epoch."""

    folder: Path


def train_resumable(
    run: TrainingRun,
    *,
    folder: Path,
    stem: str,
    hyper_parameters: Mapping[str, Any] | None = None,
    events_folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Iterator[EpochResult | WaitsForDisk]:
    """`fit`, with everything kept in `folder` after each epoch. The caller holds the folder's lock.

    Kept are: TensorBoard events, the checkpoint, and `<stem>.safetensors` and `.json` of the best epoch. If an earlier
    process finished epochs of the same run, the last of them is yielded first, and the rest are trained in as many
    micro-batches at least. While the disk is full, WaitsForDisk is yielded about every second.

    Args:
        hyper_parameters: shown with the events; None writes no events.
        events_folder: default: `folder`.
        about: JSON values to add to the model's description.
        notes: for the summary's `step_notes`.

    Raises:
        StillFull: the disk is full for long.
        RecordingFailed: this process must not train on; the same call in another does, with plain steps.
        InputError, TrainingFailed: as `fit` and `after_epoch`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, stem, identity=run.identity())
    earlier = checkpoints.load()
    summary = RunSummary.from_json(earlier.about["summary"], source=str(folder)) if earlier else NO_RUN
    unrecordable = unrecordable_file(folder, stem)
    run, notes = _as_far_as_possible(run, summary, unrecordable, notes)
    events = None
    if hyper_parameters is not None:
        events = _events(run, events_folder or folder, hyper_parameters, earlier)
    keeper = _Keeper(run, folder, stem, checkpoints, events, about or {})
    try:
        if earlier is not None:
            keeper.repair(earlier)
            yield EpochResult(summary, earlier.about["stop"], None)
            if earlier.about["stop"]:
                return
        summary = replace(summary, config=flatten(run.config), device=run.device.name).with_step_notes(notes)
        start = None if earlier is None else earlier.progress
        cpu_s, counted_s = summary.device_seconds or 0.0, time.process_time()
        for report in fit(run, start=start):
            start = earlier = None  # free the tensors
            summary = after_epoch(summary, report, metric=run.task.metric)
            if report.why_plain:
                summary = summary.with_step_notes([_PLAIN.format(report.why_plain)])
            if not run.device.on_gpu:
                summary = replace(summary, device_seconds=round(cpu_s + time.process_time() - counted_s, 3))
            started = time.perf_counter()
            for _ in waits_for_disk_space(folder, 3 * report.progress().num_bytes):
                yield WaitsForDisk(folder)
            keeper.write(report, summary)
            summary = summary.with_seconds({"checkpoint": time.perf_counter() - started})
            yield EpochResult(summary, report.stop, report)
    except RecordingFailed as failure:
        write_text(unrecordable, str(failure))
        raise
    finally:
        if events is not None:
            events.close()


def _as_far_as_possible(
    run: TrainingRun, earlier: RunSummary, unrecordable: Path, notes: Sequence[str]
) -> tuple[TrainingRun, Sequence[str]]:
    """The run in the micro-batches that an earlier process needed, and without the recording that failed in one."""
    changes: dict[str, Any] = {}
    num_needed = earlier.config.get("train.micro_batches", 1)
    if num_needed > run.config.train.micro_batches:
        changes["train.micro_batches"] = num_needed
    if unrecordable.exists():
        notes = [*notes, _PLAIN.format(unrecordable.read_text())]
        changes["train.step"] = "plain"
    return replace(run, config=run.config.override(changes, source=str(unrecordable.parent))), notes


def _events(
    run: TrainingRun, folder: Path, hyper_parameters: Mapping[str, Any], earlier: Checkpoint | None
) -> EventWriter:
    done = len(earlier.progress.history) if earlier else 0
    return EventWriter(
        folder,
        hyper_parameters,
        metric=run.task.metric,
        label_metric=run.task.target_spec.columns.per_label,
        purge_from=done + 1,
    )


def epochs_of(run: Iterator[EpochResult | WaitsForDisk]) -> Iterator[EpochResult]:
    """The epochs of a run; standard error has a line when it waits for a full disk."""
    said = False
    for step in run:
        if isinstance(step, EpochResult):
            said = False
            yield step
        elif not said:
            said = True
            print(f"the disk of {step.folder} is full; waiting for some to be freed", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Keeper:
    """Writes the files of a run."""

    run: TrainingRun
    folder: Path
    stem: str
    checkpoints: Checkpoints
    events: EventWriter | None
    about: Mapping[str, Any]

    def write(self, report: EpochReport, summary: RunSummary) -> None:
        """Store an epoch, in an order that the next process can repair after a kill.

        Events without a checkpoint are purged, and the checkpoint of a best epoch holds the model too.
        """
        if self.events is not None:
            self.events.add(report)
        description: dict[str, Any] | None = None
        if report.best_state is not None:
            description = {**describe_model(report, self.run), **self.about}
        about = {"stop": report.stop, "summary": summary.to_json(), "description": description}
        self.checkpoints.save(Checkpoint(report.progress(), about))
        if report.best_state is not None and description is not None:
            save_artifact(self.folder, self.stem, report.best_state, description, repeatedly=True)

    def repair(self, checkpoint: Checkpoint) -> None:
        """Write the best model if it is the checkpoint's: the process may have ended between the two writes."""
        if checkpoint.about["description"] is None:
            return
        state = model_state(checkpoint.progress.tensors)
        save_artifact(self.folder, self.stem, state, checkpoint.about["description"], repeatedly=True)
