"""One trial as Ray sees it: an epoch a step, around the same `fit` that everything else uses."""

import gc
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.sources import TargetKind
from xlite.device import choose_device
from xlite.distill.bank import Bank
from xlite.files import write_json, write_text
from xlite.tasks import find_task
from xlite.train.events import EventWriter
from xlite.train.loop import EpochReport, TrainingFailed, fit
from xlite.train.record import RunRecord, save_model
from xlite.tune.stopping import EPOCH_KEY, VALUE_KEY

FINISHED_KEY, FAILURE_KEY, SUMMARY_KEY = "finished", "failure", "summary"
"""Further keys of a trial's results: training ended by itself; why it failed; the record so far as JSON text."""


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; sent to each worker once.

    Attributes:
        task: name or module:NAME; kind: of its targets in this data.
        base: the configuration a trial's overrides are laid over.
        pause_s: rest after an epoch, to spare the power supply.
        gpu_share: the share of a GPU a trial may fill; 0 on CPU.
    """

    task: str
    kind: TargetKind
    base: RunConfig
    dataset: Dataset
    bank: Bank | None
    folder: Path
    gpu_share: float
    pause_s: float = 0.0


def trial_folder(study_folder: Path, number: int) -> Path:
    """`trials/00012` of a study."""
    return study_folder / "trials" / f"{number:05d}"


class DistillationTrial(tune.Trainable):
    """Reused from trial to trial: `reset_config` starts the next one in the same process."""

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Begin the trial of `config`: {"number": ..., "overrides": {...}}."""
        assert job is not None
        self.job = job
        self.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial; GPU memory of the last one is given back first."""
        self.end()
        self.begin(new_config)
        return True

    def begin(self, config: dict[str, Any]) -> None:
        """Everything a trial needs, none of it trained yet."""
        self.number: int = config["number"]
        self.folder = trial_folder(self.job.folder, self.number)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = self.job.base.override(config["overrides"], source=f"trial {self.number}")
        self.device = choose_device(self.run.train.precision)
        if self.device.on_gpu and 0 < self.job.gpu_share < 1:
            torch.cuda.set_per_process_memory_fraction(self.job.gpu_share)
        self.task = find_task(self.job.task).for_kind(self.job.kind)
        self.record = RunRecord(self.run, metric=self.task.metric, device_name=self.device.name)
        self.events = EventWriter(self.folder, config["overrides"], metric=self.task.metric)
        self.reports: Iterator[EpochReport] | None = None

    def step(self) -> dict[str, Any]:
        """One epoch; an error of the trial is a result too, so that the worker lives on."""
        try:
            if self.reports is None:
                self.reports = fit(self.run, self.task, self.job.dataset, device=self.device, bank=self.job.bank)
            return self.take(next(self.reports))
        except TrainingFailed as failure:
            return self.fail(str(failure))
        except torch.cuda.OutOfMemoryError as failure:
            return self.fail(f"out of GPU memory at a share of {self.job.gpu_share:g}: {str(failure).splitlines()[0]}")
        except Exception as failure:
            write_text(self.folder / "error.txt", traceback.format_exc())
            return self.fail(f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}")

    def take(self, report: EpochReport) -> dict[str, Any]:
        """Keep what the epoch gave and tell the driver."""
        self.record.add(report)
        self.events.add(report)
        started = time.perf_counter()
        if report.best_state is not None:
            save_model(
                self.folder,
                "student",
                report,
                config=self.run,
                task=self.task,
                dataset=self.job.dataset,
                trial=self.number,
            )
        self.record.seconds["checkpoint"] = self.record.seconds.get("checkpoint", 0) + time.perf_counter() - started
        summary = self.record.summary()
        write_json(self.folder / "trial.json", {"number": self.number, "stop": report.stop, **summary})
        time.sleep(self.job.pause_s)
        return {
            EPOCH_KEY: report.epoch,
            VALUE_KEY: report.best_value,
            FINISHED_KEY: bool(report.stop),
            SUMMARY_KEY: json.dumps(summary),
            "done": bool(report.stop),
        }

    def fail(self, reason: str) -> dict[str, Any]:
        """The last result of a trial that cannot go on."""
        summary = self.record.summary()
        write_json(self.folder / "trial.json", {"number": self.number, "stop": "failed", "reason": reason, **summary})
        return {FAILURE_KEY: reason, FINISHED_KEY: True, SUMMARY_KEY: json.dumps(summary), "done": True}

    def end(self) -> None:
        """Let go of the trial's model and files."""
        self.events.close()
        self.reports = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def cleanup(self) -> None:
        """Ray ends this worker."""
        self.end()
