"""Resuming a run: after any epoch it continues exactly as if uninterrupted; damaged checkpoints are not used."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.errors import TrainingFailed
from xlite.models.artifact import load_artifact
from xlite.storage import files
from xlite.storage.files import StillFull, spares_of
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.checkpoint import Checkpoint, Checkpoints, checkpoint_files, remove_checkpoints
from xlite.train.hparams import curve_files
from xlite.train.loop import TrainState
from xlite.train.resumable import WaitsForDisk, epochs_of, train_resumable
from xlite.train.run import TrainingRun

CPU = choose_device("fp32", kind="cpu")
VALUES = {
    "model.backbone": "mobilenetv3_small_050",
    "model.dropout": 0.2,
    "data.image_size": 32,
    "data.augmentation": "light",
    "optim.learning_rate": 3e-3,
    "optim.freeze_epochs": 1,
    "optim.plateau_patience": 0,
    "train.epochs": 4,
}
CONFIG = RunConfig().override(VALUES, source="test")


def train(dataset, folder, config=CONFIG, epochs=None):
    """The epochs of a call that is abandoned after `epochs` of them."""
    run = train_resumable(
        TrainingRun(config, TASK, dataset, CPU), folder=folder, stem="student", hyper_parameters={"a": 1}
    )
    out = list(itertools.islice(run, epochs))
    run.close()
    return out


def curve(results):
    return [(k.epoch, k.best_value, k.summary.best_epoch, k.stop) for k in results]


def losses(results):
    return [(k.report.train["loss"], k.report.val_loss, k.report.learning_rate) for k in results if k.report]


def weights(folder):
    state, description = load_artifact(folder / "student.safetensors")
    return state, {key: value for key, value in description.items() if key != "weights_sha256"}


def events(folder):
    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"] if "second" not in tag
    }


@pytest.fixture(scope="module")
def whole(tiny_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(tiny_dataset, folder)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(tiny_dataset, whole, tmp_path, after):
    folder, uninterrupted = whole
    first = train(tiny_dataset, tmp_path, epochs=after)
    again = train(tiny_dataset, tmp_path)
    assert again[0].report is None and curve(again[:1]) == curve(first[-1:])  # its last epoch is yielded again
    assert curve(first + again[1:]) == curve(uninterrupted)
    assert losses(first + again[1:]) == losses(uninterrupted)  # to the bit
    (ours, described), (theirs, expected) = weights(tmp_path), weights(folder)
    assert described == expected and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    curves = {tag: points for tag, points in events(tmp_path).items() if tag != "speed/images_per_s"}
    assert curves == {tag: points for tag, points in events(folder).items() if tag != "speed/images_per_s"}
    assert [step for step, _ in curves["val/auc_macro"]] == [1, 2, 3, 4]
    summary, expected_summary = again[-1].summary, uninterrupted[-1].summary
    measured = {"seconds": 0.0, "seconds_by_kind": {}, "device_seconds": 0.0, "images_per_s": None}
    assert replace(summary, **measured) == replace(expected_summary, **measured)


def test_on_a_cpu_the_cpu_time_of_each_process_is_counted_not_the_time_on_the_wall(tiny_dataset, tmp_path, monkeypatch):
    clock = iter([10.0, 12.5, 13.0, 100.0, 101.0, 103.5])  # at the start and after each epoch, of either process
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    first = train(tiny_dataset, tmp_path, epochs=2)
    again = train(tiny_dataset, tmp_path)
    assert [kept.summary.device_seconds for kept in (*first, *again)] == [2.5, 3.0, 3.0, 4.0, 6.5]


def test_events_of_a_resumed_run_sort_last_even_within_a_second(tiny_dataset, whole, tmp_path):
    train(tiny_dataset, tmp_path, epochs=2)
    (first,) = curve_files(tmp_path)
    first.rename(tmp_path / f"events.out.tfevents.{int(time.time()) + 1}.~")  # sorts after all files of the next second
    train(tiny_dataset, tmp_path)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1, 2, 3, 4]


def test_removing_checkpoints_removes_the_artifact_s_spare_files(tiny_dataset, tmp_path):
    for attempt in range(2):  # the second finds a best model, so it writes to two files in turn
        train(tiny_dataset, tmp_path, config=CONFIG.override({"train.seed": attempt}, source="test"), epochs=1)
    assert spares_of(tmp_path / "student.safetensors")[0].exists()
    remove_checkpoints(tmp_path, "student")
    remaining = {path.name for path in tmp_path.iterdir() if not path.name.startswith("events")}
    assert remaining == {"student.safetensors", "student.json"}


def test_a_finished_run_is_yielded_again_without_training(tiny_dataset, whole):
    folder, uninterrupted = whole
    (last,) = train(tiny_dataset, folder)
    assert last.report is None and last.stop == "budget" and curve([last]) == curve(uninterrupted[-1:])


def test_a_checkpoint_of_another_run_is_ignored(tiny_dataset, tmp_path):
    train(tiny_dataset, tmp_path, epochs=2)
    other = CONFIG.override({"optim.learning_rate": 1e-3}, source="test")
    assert train(tiny_dataset, tmp_path, other, epochs=1)[0].report is not None
    train(tiny_dataset, tmp_path, epochs=1)
    (result,) = train(tiny_dataset, tmp_path, CONFIG.override({"train.step": "graph"}, source="test"), epochs=1)
    assert result.report is None  # recording the step does not change the run's identity


def test_a_best_model_lost_between_two_writes_is_restored(tiny_dataset, tmp_path):
    first = train(tiny_dataset, tmp_path, epochs=1)
    assert first[0].summary.best_epoch == 1
    state, description = weights(tmp_path)
    (tmp_path / "student.json").unlink()
    (tmp_path / "student.safetensors").write_bytes(b"half")
    train(tiny_dataset, tmp_path, epochs=1)
    restored, restored_description = weights(tmp_path)
    assert restored_description == description and all(torch.equal(restored[key], state[key]) for key in state)


def run_with(change, dataset):
    """A run of a task of one's own, whose metrics are those of `change`."""
    spec = TASK.target_spec

    def evaluate(*args):
        found = spec.evaluate(*args)
        return replace(found, scalars=change(found.scalars))

    return TrainingRun(CONFIG, replace(TASK, declared_target_spec=replace(spec, evaluate=evaluate)), dataset, CPU)


def test_a_task_of_one_s_own_may_give_metrics_of_any_float_type(tiny_dataset, tmp_path):
    run = run_with(lambda scalars: {name: np.float32(value) for name, value in scalars.items()}, tiny_dataset)
    first = next(train_resumable(run, folder=tmp_path, stem="student"))
    (again, _) = itertools.islice(train_resumable(run, folder=tmp_path, stem="student"), 2)
    assert again.best_value == first.best_value == pytest.approx(first.summary.metrics["auc_macro"], abs=1e-6)


@pytest.mark.parametrize("given", [{"auc_macro": np.nan}, {"auc_macro": np.inf}, {}])
def test_a_metric_of_one_s_own_that_is_not_finite_ends_the_run(tiny_dataset, tmp_path, given):
    run = run_with(lambda scalars: given, tiny_dataset)
    with pytest.raises(TrainingFailed, match=r"auc_macro on validation is (nan|inf) at epoch 1"):
        next(train_resumable(run, folder=tmp_path, stem="student"))


DAMAGES = ["flipped bit", "other value", "truncated", "empty", "text"]


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped bit":
        data[-1000] ^= 4
    other = data.replace(b'val_loss\\": 0', b'val_loss\\": 1')
    assert other != data
    path.write_bytes(
        {"flipped bit": data, "other value": other, "truncated": data[:-100], "empty": b"", "text": b"{}"}[how]
    )


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_not_resumed(tiny_dataset, tmp_path, how):
    first = train(tiny_dataset, tmp_path, epochs=1)
    damage(checkpoint_files(tmp_path, "student")[0], how)
    again = train(tiny_dataset, tmp_path, epochs=1)
    assert again[0].report is not None and losses(again) == losses(first)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1]  # the first process's epoch is gone


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("after", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_if_the_last_checkpoint_is_damaged_the_one_before_is_resumed(tiny_dataset, whole, tmp_path, after, how):
    train(tiny_dataset, tmp_path, epochs=after)
    damage(checkpoint_files(tmp_path, "student")[(after - 1) % 2], how)
    again = train(tiny_dataset, tmp_path)
    assert [result.epoch for result in again] == list(range(after - 1, 5)) and again[0].report is None
    assert losses(again) == losses(whole[1])[after - 1 :]
    (ours, described), (theirs, expected) = weights(tmp_path), weights(whole[0])
    assert described == expected and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1, 2, 3, 4]


def checkpoint(epoch, size=1000):
    tensors = {"model.a": torch.full((size,), float(epoch)), "model.b": torch.tensor(epoch)}
    return Checkpoint(TrainState(tuple(range(epoch)), tensors), {"epoch": epoch})


def test_a_write_interrupted_at_any_byte_leaves_the_old_checkpoint_or_the_new_one(tmp_path):
    def reopened():
        return Checkpoints(tmp_path, "s", identity={"a": 1})

    one = reopened()
    one.save(checkpoint(1))
    one.save(checkpoint(2))
    first = checkpoint_files(tmp_path, "s")[0]
    old = first.read_bytes()
    one.save(checkpoint(3, size=1100))  # longer than the one it overwrites
    new = first.read_bytes()
    for end in (0, 1, 8, 9, 100, 300, len(old), len(new) - 1, len(new)):
        first.write_bytes(new[:end] + old[end:])
        found = reopened().load()
        assert found.about["epoch"] == (3 if end == len(new) else 2), end
        assert found.progress.tensors["model.a"].unique().item() == found.about["epoch"]
    first.write_bytes(new[:100])
    after = reopened()
    after.load()
    after.save(checkpoint(3))  # overwrites the damaged one
    assert reopened().load().about["epoch"] == 3
    assert Checkpoints(tmp_path, "s", identity={"a": 2}).load() is None


def test_loaded_tensors_do_not_change_when_their_file_is_overwritten(tmp_path):
    one = Checkpoints(tmp_path, "s", identity={})
    one.save(checkpoint(1))
    found = Checkpoints(tmp_path, "s", identity={})
    tensors = found.load().progress.tensors
    found.save(checkpoint(2))
    found.save(checkpoint(3))
    assert tensors["model.a"].unique().item() == 1


def test_the_loaded_checkpoint_is_intact_until_the_next_is_on_disk(tmp_path):
    for epoch in (1, 2, 3, 4):
        one = Checkpoints(tmp_path, "s", identity={})
        before = one.load()
        loaded = checkpoint_files(tmp_path, "s")[epoch % 2]
        content = loaded.read_bytes() if before else b""
        one.save(checkpoint(epoch, size=1000 // epoch))  # each shorter than the last
        assert (loaded.read_bytes() if before else b"") == content
        assert Checkpoints(tmp_path, "s", identity={}).load().about["epoch"] == epoch


def test_a_link_in_place_of_a_checkpoint_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for file in checkpoint_files(tmp_path, "s"):
        file.symlink_to("mine")
    with pytest.raises(OSError):
        Checkpoints(tmp_path, "s", identity={}).save(checkpoint(1))
    assert (tmp_path / "mine").read_text() == "mine"


def test_without_a_folder_there_is_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none", "s", identity={}).load() is None


CODE = f"""
import pickle, sys
from pathlib import Path
from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.resumable import train_resumable
from xlite.train.run import TrainingRun
dataset = pickle.load(sys.stdin.buffer)
config = RunConfig().override({VALUES!r}, source="test")
cpu = choose_device("fp32", kind="cpu")
options = {{"folder": Path(sys.argv[1]), "stem": "student", "hyper_parameters": {{"a": 1}}}}
for result in train_resumable(TrainingRun(config, CHESTXRAY14, dataset, cpu), **options):
    print(result.epoch, result.report is None, flush=True)
"""


def test_a_killed_process_loses_at_most_the_epoch_it_was_in(tiny_dataset, whole, tmp_path):
    import pickle

    done = 0
    for wait_for in (1, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
        )
        process.stdin.write(pickle.dumps(tiny_dataset))
        process.stdin.close()
        yielded = []
        while not yielded or yielded[-1][0] < wait_for:
            epoch, resumed = process.stdout.readline().decode().split()
            yielded.append((int(epoch), resumed == "True"))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rest = [line.decode().split() for line in process.stdout.readlines()]
        process.stdout.close()
        yielded += [(int(epoch), resumed == "True") for epoch, resumed in rest]
        assert yielded[0] == ((done, True) if done else (1, False))
        done = yielded[-1][0]
    again = train(tiny_dataset, tmp_path)
    assert again[0].epoch >= done
    (ours, _), (theirs, _) = weights(tmp_path), weights(whole[0])
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.fixture
def free_bytes(monkeypatch):
    """What the disk has free at each look; the last number stays."""
    numbers = []
    looks = lambda folder: SimpleNamespace(free=numbers.pop(0) if len(numbers) > 1 else numbers[0])  # noqa: E731
    monkeypatch.setattr(files, "shutil", SimpleNamespace(disk_usage=looks))
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda s: None))
    return numbers


def test_a_run_says_at_once_that_its_disk_is_full_and_goes_on_when_it_is_not(
    tiny_dataset, whole, tmp_path, free_bytes, capfd
):
    free_bytes += [10**12, 0, 0, 0, 10**12]
    steps = train(tiny_dataset, tmp_path, epochs=5)
    waits = [WaitsForDisk(tmp_path)] * 3
    assert [step if isinstance(step, WaitsForDisk) else step.epoch for step in steps] == [1, *waits, 2]
    assert curve(epochs_of(iter(steps))) == curve(whole[1][:2])
    assert capfd.readouterr().err == f"the disk of {tmp_path} is full; waiting for some to be freed\n"


def test_a_run_whose_disk_stays_full_ends_with_its_last_epoch_kept(tiny_dataset, tmp_path, free_bytes, monkeypatch):
    monkeypatch.setattr(files.waits_for_disk_space, "__kwdefaults__", {"timeout_s": 0.05})
    free_bytes += [10**12, 0]
    run = train_resumable(TrainingRun(CONFIG, TASK, tiny_dataset, CPU), folder=tmp_path, stem="student")
    with pytest.raises(StillFull, match="no space for"):
        list(run)
    free_bytes[:] = [10**12]
    assert [step.epoch for step in train(tiny_dataset, tmp_path, epochs=2)] == [1, 2]
