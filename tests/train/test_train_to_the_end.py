"""GPU memory that runs out in a driver: the same batch in smaller micro-batches, from the last checkpoint, and said."""

import gc
import weakref

import pytest
import torch

from xlite.config import RunConfig
from xlite.device import choose_device
from xlite.errors import InputError, TrainingFailed
from xlite.models.artifact import load_artifact
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train import loop, retry, teacher
from xlite.train.retry import train_to_the_end
from xlite.train.run import TrainingRun
from xlite.train.step import Learner, RecordingFailed
from xlite.train.teacher import default_teacher, train_teacher

CPU = choose_device("fp32", kind="cpu")
VALUES = {"data.image_size": 32, "optim.batch_size": 20, "train.epochs": 3, "optim.learning_rate": 3e-3}
NOTE = (
    "GPU memory ran out; continued with batches of 20 split into 4 micro-batches of up to 5 "
    "(which batch normalisation sees)"
)


def run_of(dataset, **changes):
    return TrainingRun(RunConfig().override({**VALUES, **changes}, source="test"), CHESTXRAY14, dataset, CPU)


@pytest.fixture
def memory(monkeypatch):
    """A GPU's, made up: so many examples fit into a forward pass, from the given epoch on."""
    limit = {"examples": 5, "from_epoch": 1, "epoch": 0}
    forward, train_epoch = Learner.forward, loop._Trainer.train_epoch

    def limited(self, batch):
        if limit["epoch"] >= limit["from_epoch"] and len(batch.targets) > limit["examples"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    def counted(self, epoch, history):
        limit["epoch"] = epoch + 1
        return train_epoch(self, epoch, history)

    monkeypatch.setattr(Learner, "forward", limited)
    monkeypatch.setattr(loop._Trainer, "train_epoch", counted)
    return limit


def outcome(results):
    return [(kept.epoch, kept.best_value, kept.report.train["loss"]) for kept in results if kept.report]


def test_the_result_is_that_of_as_many_micro_batches_from_the_start(tiny_dataset, tmp_path, memory, capfd):
    results = list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path / "a", stem="s"))
    asked = list(train_to_the_end(run_of(tiny_dataset, **{"train.micro_batches": 4}), folder=tmp_path / "b", stem="s"))
    assert outcome(results) == outcome(asked)
    ours, theirs = (load_artifact(tmp_path / name / "s.safetensors")[0] for name in "ab")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    halves = NOTE.replace("into 4", "into 2").replace("up to 5", "up to 10")
    assert results[-1].summary.step_notes == (halves, NOTE) and asked[-1].summary.step_notes == ()
    assert capfd.readouterr().err == f"{halves}\n{NOTE}\n"


def test_it_goes_on_from_the_last_checkpoint_and_what_ran_out_is_freed(
    tiny_dataset, tmp_path, memory, monkeypatch, capfd
):
    memory["from_epoch"] = 2
    learners, left = [], []
    made = loop.Learner

    def remembered(run):
        gc.collect()
        left.append([learner() for learner in learners])
        learner = made(run)
        learners.append(weakref.ref(learner))
        return learner

    monkeypatch.setattr(loop, "Learner", remembered)
    results = []
    for kept in train_to_the_end(run_of(tiny_dataset), folder=tmp_path, stem="s"):
        results.append(kept)  # as a caller's variable keeps the last one
    assert [(kept.epoch, kept.report is not None) for kept in results] == [
        *[(1, True), (1, False), (1, False), (2, True), (3, True)]
    ]
    assert left == [[], [None], [None, None]]
    assert results[-1].summary.config["train.micro_batches"] == 4
    assert len(results[-1].summary.step_notes) == 2 == len(capfd.readouterr().err.splitlines())


def test_another_process_goes_on_with_the_micro_batches_that_were_needed(tiny_dataset, tmp_path, memory):
    whole = list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path / "whole", stem="s"))
    first = train_to_the_end(run_of(tiny_dataset), folder=tmp_path / "s", stem="s")
    begun = [next(first)]
    first.close()
    memory["examples"] = 20  # more than the run was begun with, which may not change its course
    rest = list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path / "s", stem="s"))
    assert outcome(begun + rest) == outcome(whole)
    assert rest[-1].summary.step_notes == whole[-1].summary.step_notes


def test_where_single_examples_do_not_fit_one_line_says_so(tiny_dataset, tmp_path, memory):
    memory["examples"] = 0
    with pytest.raises(InputError, match="GPU memory ran out with single examples"):
        list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path, stem="s"))


def test_another_error_is_not_taken_for_it(tiny_dataset, tmp_path, monkeypatch):
    def fails(self, batch):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Learner, "forward", fails)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path, stem="s"))


def test_a_driver_that_must_not_train_on_says_that_the_same_command_does(tiny_dataset, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise RecordingFailed("it broke", process_is_fit=False)
        yield

    monkeypatch.setattr(retry, "train_resumable", fails)
    with pytest.raises(InputError, match=r"cannot be recorded \(it broke\); run the same command again, .* plain"):
        list(train_to_the_end(run_of(tiny_dataset), folder=tmp_path, stem="s"))


def test_a_teacher_s_description_says_how_it_was_trained(tiny_dataset, tmp_path, memory):
    config = run_of(tiny_dataset).config
    trained = train_teacher(config, CHESTXRAY14, tiny_dataset, folder=tmp_path)
    _, description = load_artifact(trained.file)
    assert description["step_notes"][-1] == NOTE and description["config"]["train.micro_batches"] == 4
    assert train_teacher(config, CHESTXRAY14, tiny_dataset, folder=tmp_path).was_there  # it is the one asked for


def test_a_default_teacher_that_cannot_be_trained_is_named(tiny_dataset, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise TrainingFailed("the loss is nan")

    monkeypatch.setattr(teacher, "train_teacher", fails)
    with pytest.raises(TrainingFailed, match=r"^teacher mobilenetv3_small_050: the loss is nan; give"):
        default_teacher(run_of(tiny_dataset).config, CHESTXRAY14, tiny_dataset, folder=tmp_path)
