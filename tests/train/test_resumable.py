"""What is kept of a run: taken up after any epoch it goes on as if nothing had happened; damage is never trusted."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.models.artifact import load_artifact
from xlite.storage.files import spares_of
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.checkpoint import Checkpoint, Checkpoints, checkpoint_files, remove_checkpoints
from xlite.train.loop import TrainState
from xlite.train.resumable import train_resumable

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
    """The kept epochs of a call that is left after `epochs` of them."""
    run = train_resumable(config, TASK, dataset, folder=folder, stem="student", device=CPU, hyper_parameters={"a": 1})
    out = list(itertools.islice(run, epochs))
    run.close()
    return out


def curve(kept):
    return [(k.epoch, k.best_value, k.summary.best_epoch, k.stop) for k in kept]


def losses(kept):
    return [(k.report.train["loss"], k.report.val_loss, k.report.learning_rate) for k in kept if k.report]


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
def test_a_run_taken_up_goes_on_as_if_it_had_never_stopped(tiny_dataset, whole, tmp_path, after):
    folder, uninterrupted = whole
    first = train(tiny_dataset, tmp_path, epochs=after)
    again = train(tiny_dataset, tmp_path)
    assert again[0].report is None and curve(again[:1]) == curve(first[-1:])  # its last epoch is told once more
    assert curve(first + again[1:]) == curve(uninterrupted)
    assert losses(first + again[1:]) == losses(uninterrupted)  # to the bit
    (ours, told), (theirs, expected) = weights(tmp_path), weights(folder)
    assert told == expected and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    curves = {tag: points for tag, points in events(tmp_path).items() if tag != "speed/images_per_s"}
    assert curves == {tag: points for tag, points in events(folder).items() if tag != "speed/images_per_s"}
    assert [step for step, _ in curves["val/auc_macro"]] == [1, 2, 3, 4]
    summary, expected_summary = again[-1].summary, uninterrupted[-1].summary
    measured = {"seconds": 0.0, "seconds_by_kind": {}, "images_per_s": None}
    assert replace(summary, **measured) == replace(expected_summary, **measured)


def test_events_of_a_run_taken_up_are_read_last_whatever_their_second(tiny_dataset, whole, tmp_path):
    train(tiny_dataset, tmp_path, epochs=2)
    (first,) = tmp_path.glob("events.out.tfevents.*")
    first.rename(tmp_path / f"events.out.tfevents.{int(time.time()) + 1}.~")  # sorts behind all of the next second too
    train(tiny_dataset, tmp_path)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1, 2, 3, 4]


def test_nothing_that_was_kept_for_the_next_epoch_outlives_the_checkpoints(tiny_dataset, tmp_path):
    for attempt in range(2):  # the second one finds a best model already, so that two files take turns
        train(tiny_dataset, tmp_path, config=CONFIG.override({"train.seed": attempt}, source="test"), epochs=1)
    assert spares_of(tmp_path / "student.safetensors")[0].exists()
    remove_checkpoints(tmp_path, "student")
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("events")}
    assert left == {"student.safetensors", "student.json"}


def test_a_finished_run_is_told_again_and_not_trained_again(tiny_dataset, whole):
    folder, uninterrupted = whole
    (last,) = train(tiny_dataset, folder)
    assert last.report is None and last.stop == "budget" and curve([last]) == curve(uninterrupted[-1:])


def test_another_run_is_never_taken_up(tiny_dataset, tmp_path):
    train(tiny_dataset, tmp_path, epochs=2)
    other = CONFIG.override({"optim.learning_rate": 1e-3}, source="test")
    assert train(tiny_dataset, tmp_path, other, epochs=1)[0].report is not None
    train(tiny_dataset, tmp_path, epochs=1)
    (kept,) = train(tiny_dataset, tmp_path, CONFIG.override({"train.step": "graph"}, source="test"), epochs=1)
    assert kept.report is None  # how a step is computed does not make it another run


def test_a_best_model_lost_between_two_writes_comes_back(tiny_dataset, tmp_path):
    first = train(tiny_dataset, tmp_path, epochs=1)
    assert first[0].summary.best_epoch == 1
    state, description = weights(tmp_path)
    (tmp_path / "student.json").unlink()
    (tmp_path / "student.safetensors").write_bytes(b"half")
    train(tiny_dataset, tmp_path, epochs=1)
    mended, told = weights(tmp_path)
    assert told == description and all(torch.equal(mended[key], state[key]) for key in state)


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
def test_a_damaged_checkpoint_is_not_taken_up(tiny_dataset, tmp_path, how):
    first = train(tiny_dataset, tmp_path, epochs=1)
    damage(checkpoint_files(tmp_path, "student")[0], how)
    again = train(tiny_dataset, tmp_path, epochs=1)
    assert again[0].report is not None and losses(again) == losses(first)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1]  # the first process's epoch is gone


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("after", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_where_the_last_checkpoint_is_damaged_the_one_before_is_taken_up(tiny_dataset, whole, tmp_path, after, how):
    train(tiny_dataset, tmp_path, epochs=after)
    damage(checkpoint_files(tmp_path, "student")[(after - 1) % 2], how)
    again = train(tiny_dataset, tmp_path)
    assert [kept.epoch for kept in again] == list(range(after - 1, 5)) and again[0].report is None
    assert losses(again) == losses(whole[1])[after - 1 :]
    (ours, told), (theirs, expected) = weights(tmp_path), weights(whole[0])
    assert told == expected and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [step for step, _ in events(tmp_path)["val/auc_macro"]] == [1, 2, 3, 4]


def checkpoint(epoch, size=1000):
    tensors = {"model.a": torch.full((size,), float(epoch)), "model.b": torch.tensor(epoch)}
    return Checkpoint(TrainState(tuple(range(epoch)), tensors), {"epoch": epoch})


def test_a_write_cut_off_at_any_byte_leaves_the_epoch_before_or_the_new_one(tmp_path):
    def saved():
        return Checkpoints(tmp_path, "s", identity={"a": 1})

    one = saved()
    one.save(checkpoint(1))
    one.save(checkpoint(2))
    first = checkpoint_files(tmp_path, "s")[0]
    old = first.read_bytes()
    one.save(checkpoint(3, size=1100))  # longer than what it is written over
    new = first.read_bytes()
    for end in (0, 1, 8, 9, 100, 300, len(old), len(new) - 1, len(new)):
        first.write_bytes(new[:end] + old[end:])
        found = saved().load()
        assert found.about["epoch"] == (3 if end == len(new) else 2), end
        assert found.progress.tensors["model.a"].unique().item() == found.about["epoch"]
    first.write_bytes(new[:100])
    after = saved()
    after.load()
    after.save(checkpoint(3))  # over the damaged one
    assert saved().load().about["epoch"] == 3
    assert Checkpoints(tmp_path, "s", identity={"a": 2}).load() is None


def test_what_was_loaded_does_not_change_when_its_file_is_written_over(tmp_path):
    one = Checkpoints(tmp_path, "s", identity={})
    one.save(checkpoint(1))
    found = Checkpoints(tmp_path, "s", identity={})
    tensors = found.load().progress.tensors
    found.save(checkpoint(2))
    found.save(checkpoint(3))
    assert tensors["model.a"].unique().item() == 1


def test_what_was_taken_up_stands_until_the_next_is_on_disk(tmp_path):
    for epoch in (1, 2, 3, 4):
        one = Checkpoints(tmp_path, "s", identity={})
        before = one.load()
        stands = checkpoint_files(tmp_path, "s")[epoch % 2]
        kept = stands.read_bytes() if before else b""
        one.save(checkpoint(epoch, size=1000 // epoch))  # ever shorter
        assert (stands.read_bytes() if before else b"") == kept
        assert Checkpoints(tmp_path, "s", identity={}).load().about["epoch"] == epoch


def test_a_link_in_place_of_a_checkpoint_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for file in checkpoint_files(tmp_path, "s"):
        file.symlink_to("mine")
    with pytest.raises(OSError):
        Checkpoints(tmp_path, "s", identity={}).save(checkpoint(1))
    assert (tmp_path / "mine").read_text() == "mine"


def test_there_is_no_checkpoint_of_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none", "s", identity={}).load() is None


CODE = f"""
import pickle, sys
from pathlib import Path
from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.resumable import train_resumable
dataset = pickle.load(sys.stdin.buffer)
config = RunConfig().override({VALUES!r}, source="test")
cpu = choose_device("fp32", kind="cpu")
place = {{"folder": Path(sys.argv[1]), "stem": "student"}}
for kept in train_resumable(config, CHESTXRAY14, dataset, device=cpu, hyper_parameters={{"a": 1}}, **place):
    print(kept.epoch, kept.report is None, flush=True)
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
        told = []
        while not told or told[-1][0] < wait_for:
            epoch, taken_up = process.stdout.readline().decode().split()
            told.append((int(epoch), taken_up == "True"))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rest = [line.decode().split() for line in process.stdout.readlines()]
        process.stdout.close()
        told += [(int(epoch), taken_up == "True") for epoch, taken_up in rest]
        assert told[0] == ((done, True) if done else (1, False))
        done = told[-1][0]
    again = train(tiny_dataset, tmp_path)
    assert again[0].epoch >= done
    (ours, _), (theirs, _) = weights(tmp_path), weights(whole[0])
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
