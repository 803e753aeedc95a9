"""The models of a promotion: taken over from a trial, trained, or found whole from an earlier command."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xlite.config import RunConfig, flatten
from xlite.device import Device
from xlite.errors import InputError
from xlite.ledger import TrialRecord
from xlite.models.artifact import load_artifact, save_artifact
from xlite.storage.files import read_json_object
from xlite.study.members import STEM, Member
from xlite.tasks.task import Task
from xlite.train.hparams import curve_files
from xlite.train.resumable import EpochResult
from xlite.train.retry import train_to_the_end
from xlite.train.run import STEP_KEYS, TrainingRun, trained_values
from xlite.train.summary import NO_RUN, RunSummary


def made(
    config: RunConfig,
    task: Task,
    member: Member,
    *,
    device: Device,
    winner: TrialRecord,
    folder: Path,
    views_seed: int | None = None,
    on_epoch: Callable[[EpochResult], None] | None,
) -> RunSummary:
    """Take over one model, or train it, from where an ended process left off; returns its summary.

    Its steps are taken as the trial's were in the end, e.g. in as many micro-batches.
    """
    if member.trained is not None:
        return _taken_over(member, folder)
    summary = NO_RUN
    bank = member.bank if config.distill.needs_teacher else None
    as_in_trial = {key: winner.summary.config[key] for key in STEP_KEYS if key in winner.summary.config}
    config = config.override(as_in_trial, source=f"trial {winner.number}")
    run = train_to_the_end(
        TrainingRun(config, task, member.dataset, device, bank, member.num_views, member.origins, views_seed),
        folder=folder,
        stem=member.stem,
        hyper_parameters=winner.overrides,
        events_folder=run_folder(folder, member.stem),
        about={"trial": winner.number},
    )
    for kept in run:
        summary = kept.summary
        if on_epoch:
            on_epoch(kept)
    return summary


def still_there(config: RunConfig, member: Member, folder: Path) -> RunSummary | None:
    """A short summary of the model in `folder` if it is whole and this one; None trains it again."""
    try:
        _, description = load_artifact(folder / f"{member.stem}.safetensors")
    except InputError:
        return None
    stored = description.get("config")
    same = isinstance(stored, dict) and trained_values(stored) == trained_values(flatten(config))
    same = same and description.get("split_hash") == member.dataset.split_hash
    return RunSummary(best_epoch=description["epoch"]) if same else None


def _taken_over(member: Member, folder: Path) -> RunSummary:
    """Copy a model that is there already, and its curves; returns its summary, without seconds counted elsewhere."""
    trained, run = member.trained, run_folder(folder, member.stem)
    assert trained is not None
    state, description = load_artifact(trained.folder / f"{trained.stem}.safetensors")
    save_artifact(folder, member.stem, state, description)
    run.mkdir(exist_ok=True)
    for earlier in curve_files(run):
        earlier.unlink()
    for events in curve_files(trained.curves):
        shutil.copyfile(events, run / events.name)
    summary = RunSummary.from_json(read_json_object(trained.summary), source=str(trained.summary))
    return replace(summary, seconds=0.0, seconds_by_kind={}, device_seconds=None) if trained.spent else summary


def run_folder(folder: Path, stem: str) -> Path:
    """The TensorBoard run of a model; that of the only one is the promotion's own."""
    return folder if stem == STEM else folder / stem
