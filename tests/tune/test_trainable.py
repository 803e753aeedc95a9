"""A worker that is used for one trial after another, without Ray around it."""

import errno
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xlite.config import RunConfig
from xlite.gpu.limits import Sharing
from xlite.gpu.memory import DeviceMemory
from xlite.gpu.memory_policy import Attempt
from xlite.storage import files
from xlite.study.job import Assignment, Job, TrialFolders
from xlite.train import loop
from xlite.train.step import RecordingFailed
from xlite.tune import trainable
from xlite.tune.asha import EPOCH_KEY, VALUE_KEY
from xlite.tune.messages import MESSAGE_KEY, CutOff, EpochDone, Failed, HeldUp
from xlite.tune.trainable import DistillationTrial

BASE = {"train.epochs": 1, "model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.0, "train.precision": "fp32"}


@pytest.fixture
def worker(tiny_dataset, tmp_path: Path):
    job = Job("chestxray14", "multilabel", tiny_dataset, None, TrialFolders(tmp_path), device_kind="cpu")

    class Worker(DistillationTrial):
        """Given its job as `tune.with_parameters` does."""

        def setup(self, config):
            super().setup(config, job)

    yield Worker(trial(0))
    gc.unfreeze()


def trial(number: int, share: float = 0.0) -> dict:
    overrides = {"optim.learning_rate": 1e-3}
    config = RunConfig().override({**BASE, **overrides}, source="test")
    return {"assignment": Assignment(number, overrides, config, Attempt(batch_size=16, share=share))}


class Cycle:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_between_trials_only_what_they_made_is_looked_through(worker):
    assert gc.get_freeze_count() > 100_000  # what the imports made
    result = worker.step()
    message = result[MESSAGE_KEY]
    assert isinstance(message, EpochDone) and message.finished
    assert (result[EPOCH_KEY], result[VALUE_KEY], result["done"]) == (1, message.summary.curve[0], True)
    left = weakref.ref(Cycle())
    assert left() is not None
    worker.reset_config(trial(1))
    assert left() is None
    assert len(gc.get_objects()) < gc.get_freeze_count() / 2
    assert worker.step()[EPOCH_KEY] == 1
    worker.cleanup()


def test_on_a_full_disk_a_trial_says_so_within_a_second_and_the_wait_is_no_hang(worker, monkeypatch):
    free_bytes = [0, 0, 10**12]
    monkeypatch.setattr(files, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=free_bytes.pop(0))))
    told = HeldUp(f"the disk of {worker.folder} is full")
    for _ in range(2):  # two steps, each with the whole of --hang-limit
        result = worker.step()
        assert result[MESSAGE_KEY] == told and not result["done"]
    assert isinstance(worker.step()[MESSAGE_KEY], EpochDone)


def test_a_disk_that_is_full_when_the_trial_s_record_is_written_is_waited_for_too(worker, monkeypatch):
    def fails(**_):
        raise OSError(errno.ENOSPC, "No space left on device", "trial.json")

    with monkeypatch.context() as full:
        full.setattr(worker, "write_record", fails)
        assert isinstance(worker.step()[MESSAGE_KEY], HeldUp)
        full.setattr(files, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0)))
        assert isinstance(worker.step()[MESSAGE_KEY], HeldUp)
    result = worker.step()
    assert isinstance(result[MESSAGE_KEY], EpochDone) and result[EPOCH_KEY] == 1


def test_a_trial_whose_disk_stays_full_is_left_for_the_next_run(worker, monkeypatch):
    monkeypatch.setattr(files.waits_for_disk_space, "__kwdefaults__", {"timeout_s": -1.0})
    monkeypatch.setattr(files, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0)))
    result = worker.step()
    assert isinstance(result[MESSAGE_KEY], CutOff) and result["done"]


def gpu_worker(dataset, folder: Path, share: float, context_bytes: int = 0) -> DistillationTrial:
    """A worker of a study on a GPU, which is not there."""
    sharing = Sharing(DeviceMemory(2**34, 2**34), context_bytes)
    worker = DistillationTrial.__new__(DistillationTrial)
    worker.setup(
        trial(0, share), Job("chestxray14", "multilabel", dataset, None, TrialFolders(folder), "cuda", sharing)
    )
    gc.unfreeze()
    return worker


def raising(error: Exception) -> Callable[[], None]:
    def init() -> None:
        raise error

    return init


@pytest.mark.parametrize(
    ("share", "init", "reason"),
    [
        (1.0, raising(RuntimeError("Error 805: MPS client failed\nand advice")), "Error 805: MPS client failed"),
        (1 / 2, raising(RuntimeError("No CUDA GPUs are available")), "No CUDA GPUs are available"),
        (1 / 2, lambda: None, "--gpus-per-trial 0.5: a process's CUDA context takes 9.0 GiB"),
    ],
)
def test_a_worker_that_cannot_have_the_gpu_trains_on_nothing_else_and_says_why(
    tiny_dataset, tmp_path, monkeypatch, share, init, reason
):
    monkeypatch.setattr(torch.cuda, "init", init)
    worker = gpu_worker(tiny_dataset, tmp_path, share, context_bytes=9 * 2**30)
    for number in (0, 1):  # also the next trial it is given
        result = worker.step()
        message = result[MESSAGE_KEY]
        assert isinstance(message, CutOff) and result["done"]
        assert message.reason.startswith(f"a trial's process cannot use the GPU: {reason}")
        assert "advice" not in message.reason
        worker.reset_config(trial(number + 1, share))
    assert not any(tmp_path.iterdir())


def test_a_trial_of_a_gpu_study_never_trains_on_the_cpu(tiny_dataset, tmp_path, monkeypatch):
    """Even where PyTorch sees no GPU only when the trial begins."""
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    worker = gpu_worker(tiny_dataset, tmp_path, 1.0)
    message = worker.step()[MESSAGE_KEY]
    assert isinstance(message, Failed) and message.summary.epochs == 0
    worker.cleanup()


def test_a_worker_whose_recording_broke_ends_and_the_next_takes_plain_steps(worker, tiny_dataset, monkeypatch):
    """Ray resumes a trial whose process died in another, see test_failing_trials.py."""

    class Broken:
        def __init__(self, learner, example):
            raise RecordingFailed("it broke", process_is_fit=False)

    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr(loop, "GraphStep", Broken)
    monkeypatch.setattr(trainable.os, "_exit", end)
    config = trial(3)
    asked = config["assignment"].config.override({"train.step": "graph"}, source="test")
    config["assignment"] = replace(config["assignment"], config=asked)
    worker.reset_config(config)
    with pytest.raises(SystemExit):
        worker.step()
    worker.reset_config(config)  # in the place of another process
    done = worker.step()[MESSAGE_KEY]
    assert done.finished and done.summary.config["train.step"] == "plain"
    assert "steps cannot be recorded (it broke): plain steps instead" in done.summary.notes
