"""One trial as Ray sees it: an epoch a step, around the same training that everything else uses."""

import errno
import faulthandler
import gc
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from ray import tune

from xlite.config import flatten
from xlite.device import choose_device, is_gpu_fault, is_out_of_memory, release_memory
from xlite.errors import TrainingFailed
from xlite.gpu.memory_policy import MAX_SHARED_FAULTS
from xlite.storage.files import StillFull, waits_for_disk_space, write_json, write_text
from xlite.storage.locks import locked
from xlite.study.job import STUDENT, Assignment, Job
from xlite.tasks import find_task
from xlite.train.resumable import EpochResult, WaitsForDisk, train_resumable
from xlite.train.run import TrainingRun
from xlite.train.step import RecordingFailed
from xlite.train.summary import NO_RUN, RunSummary
from xlite.tune.messages import CutOff, EpochDone, Failed, GpuFaults, HeldUp, Message, as_result

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM_BYTES = 16 * 2**20
"""Free disk for which a trial waits once it met a full one; `keep` waits for what a checkpoint takes."""
LOCK_TIMEOUT_S = 120.0
"""How long a trial waits for a worker that outlived its killed driver to let go of the trial's folder."""


class DistillationTrial(tune.Trainable):
    """Reused from trial to trial: `reset_config` starts the next one in the same process.

    A trial whose process died is started again with the same configuration and resumes after its last epoch.
    """

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Begin the trial of `config`: {"assignment": Assignment}."""
        assert job is not None
        self.job = job
        self.no_device = self.take_device(config["assignment"].attempt.share)
        gc.collect()
        gc.freeze()  # half a million objects of the imports, which each `release_memory` would look through for 0.25 s
        self.begin(config)

    def take_device(self, share: float) -> str:
        """Limit this process to its share of the GPU; returns why it cannot have it. All its trials have this share."""
        try:
            if self.job.sharing is not None and share:
                self.job.sharing.enter(share)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            return f"a trial's process cannot use the GPU: {reason}"
        return ""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial; GPU memory of the last one is given back first."""
        self.end()
        self.begin(new_config)
        return True

    def begin(self, config: dict[str, Any]) -> None:
        """Everything a trial needs, none of it trained yet."""
        self.assignment: Assignment = config["assignment"]
        self.number, self.attempt = self.assignment.number, self.assignment.attempt
        self.folder = self.job.folders.of(self.number)
        self.waiting: Iterator[None] = iter(())
        self.kept: Iterator[EpochResult | WaitsForDisk] | None = None
        self.summary = NO_RUN
        self.told_at: float | None = None
        self.reporting_s = 0.0
        self.held = ExitStack()

    def step(self) -> dict[str, Any]:
        """One epoch; an error of the trial is a result too, so that the worker lives on."""
        return as_result(self.next_message())

    def next_message(self) -> Message:
        """Train one epoch, and say how it went."""
        if self.told_at is not None:
            self.reporting_s += time.perf_counter() - self.told_at
            self.told_at = None
        if verdict := self.verdict():
            return verdict
        traces = self.job.folders.traces(self.number)
        try:
            for _ in self.waiting:
                return self.held_up()
            self.folder.mkdir(parents=True, exist_ok=True)
            with traces.open("w") as file:
                faulthandler.dump_traceback_later(self.job.hang_limit_s, exit=True, file=file)
                try:
                    step = next(self.epochs())
                    return self.held_up() if isinstance(step, WaitsForDisk) else self.take(step)
                finally:
                    faulthandler.cancel_dump_traceback_later()
                    traces.unlink()
        except TrainingFailed as failure:
            return self.fail(str(failure))
        except StillFull as failure:
            return CutOff(f"{failure.filename}: {failure.strerror}")
        except RecordingFailed:  # the trial goes on in another process, which takes plain steps
            os._exit(1)
        except Exception as failure:
            if isinstance(failure, OSError) and failure.errno in DISK_FULL:
                self.end()  # the next step waits, then resumes from the last checkpoint
                self.waiting = waits_for_disk_space(self.folder.parent, ROOM_BYTES)
                return self.held_up()
            if is_out_of_memory(failure):
                reason = f"out of GPU memory at {self.attempt.share:g} of it: {str(failure).splitlines()[0]}"
                return self.fail(reason, out_of_memory=True)
            reason = f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"
            with suppress(OSError):
                write_text(self.folder / "error.txt", traceback.format_exc())
            if is_gpu_fault(failure):  # this process has lost its CUDA context: the next one has the verdict
                with suppress(OSError), self.job.folders.gpu_faults(self.number).open("a") as file:
                    print(reason, file=file)
                os._exit(1)
            return self.fail(reason)

    def verdict(self) -> Failed | GpuFaults | CutOff | None:
        """What follows where this process has no GPU, or an earlier one hung or lost it; None: the trial continues.

        A fault under MPS may be a neighbour's: the trial resumes, and after a second one alone. Else it is its own.
        """
        if self.no_device:
            return CutOff(self.no_device)
        traces = self.job.folders.traces(self.number)
        if traces.exists() and traces.stat().st_size:
            return self.fail(f"no epoch within {self.job.hang_limit_s:g} s; where it hung stands in {traces.name}")
        faults = self.gpu_faults()
        overlaps = self.job.sharing is not None and bool(self.job.sharing.environment) and self.attempt.share < 1
        if faults and not overlaps:
            return self.fail(faults[-1])
        return GpuFaults(len(faults)) if len(faults) >= MAX_SHARED_FAULTS else None

    def gpu_faults(self) -> list[str]:
        """The faults that this attempt of the trial has met."""
        with suppress(OSError):
            return self.job.folders.gpu_faults(self.number).read_text().splitlines()
        return []

    def epochs(self) -> Iterator[EpochResult | WaitsForDisk]:
        """The trial's epochs, from where an earlier process left it."""
        if self.kept is None:
            until = time.monotonic() + LOCK_TIMEOUT_S

            def give_up() -> None:
                if time.monotonic() > until:
                    raise TimeoutError(f"another process has been training in {self.folder} for {LOCK_TIMEOUT_S:.0f} s")

            self.held.enter_context(locked(self.folder, waiting=give_up))
            config, task = self.assignment.config, find_task(self.job.task).resolve_targets(self.job.kind)
            device = choose_device(config.train.precision, kind=self.job.device_kind)
            self.kept = train_resumable(
                TrainingRun(config, task, self.job.dataset, device, self.job.bank, origins=self.job.origins),
                folder=self.folder,
                stem=STUDENT,
                hyper_parameters=self.assignment.overrides,
                events_folder=self.job.folders.run(self.number, flatten(config)),
                about={"trial": self.number},
            )
        return self.kept

    def held_up(self) -> HeldUp:
        """What the driver is told while the trial waits for its disk."""
        return HeldUp(f"the disk of {self.folder} is full")

    def take(self, kept: EpochResult) -> EpochDone:
        """Tell the driver of an epoch."""
        self.summary = self.with_times(kept.summary)
        started = time.perf_counter()
        self.write_record(stop=kept.stop)
        self.reporting_s += time.perf_counter() - started
        if kept.report is not None:
            time.sleep(self.job.pause_s)
        self.told_at = time.perf_counter()
        return EpochDone(self.summary, finished=bool(kept.stop))

    def with_times(self, summary: RunSummary) -> RunSummary:
        """A summary with the time the driver took between epochs, and seconds of a whole GPU in all."""
        summary = summary.with_seconds({"reporting": self.reporting_s})
        if share := self.attempt.share:
            summary = replace(summary, device_seconds=round(summary.seconds * share, 3))
        notes = ["a GPU fault ended its process; resumed from the checkpoint" for _ in self.gpu_faults()]
        return replace(summary, notes=(*summary.notes, *summary.step_notes, *notes))

    def fail(self, reason: str, *, out_of_memory: bool = False) -> Failed:
        """The last message of a trial that cannot go on; the ledger has the reason too."""
        with suppress(OSError):
            self.write_record(stop="failed", reason=reason)
        return Failed(reason, self.summary, out_of_memory)

    def write_record(self, **more: str) -> None:
        """Write trial.json, for people and other programs: the summary's own keys, and `more`."""
        summary = self.summary.to_json() if self.summary.epochs else {}
        write_json(self.folder / "trial.json", {"number": self.number, **more, **summary})

    def end(self) -> None:
        """Let go of the trial's model, files and lock."""
        self.kept = None
        self.held.close()
        release_memory()

    def cleanup(self) -> None:
        """Ray ends this worker."""
        self.end()
