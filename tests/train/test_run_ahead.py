"""How far the host may run ahead of a GPU, and which seconds of an epoch count as data. Events of a GPU are made up."""

import itertools
import time

import pytest
import torch

from xlite.config import RunConfig
from xlite.device import Device, choose_device, gpu_stream
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train import batch_loader, loop
from xlite.train.batch_loader import MAX_STEPS_AHEAD, BatchLoader, RunAhead
from xlite.train.run import TrainingRun

WAIT_S = 0.05


@pytest.fixture
def waited_for(monkeypatch):
    """The steps, numbered from 0, whose end the host waited for."""
    numbers, made = [], []

    class Event:
        def __init__(self, *, blocking):
            assert blocking  # else it spins
            made.append(self)

        def record(self):
            self.number = len(made) - 1

        def synchronize(self):
            time.sleep(WAIT_S)
            numbers.append(self.number)

    monkeypatch.setattr(batch_loader.torch.cuda, "Event", Event)
    return numbers


def test_a_step_is_queued_only_when_the_fifth_before_it_is_done(waited_for):
    run_ahead = RunAhead()
    for step in range(7):
        run_ahead.after_step()
        assert step - max(waited_for, default=-1) <= MAX_STEPS_AHEAD == 4
    assert waited_for == [0, 1, 2]


def test_waiting_for_the_loader_is_data_and_waiting_for_the_gpu_is_step(tiny_dataset, waited_for, monkeypatch):
    load = BatchLoader.load
    changes = {"data.image_size": 32, "optim.batch_size": 14, "train.epochs": 1}
    run = TrainingRun(
        RunConfig().override(changes, source="test"), CHESTXRAY14, tiny_dataset, choose_device("fp32", kind="cpu")
    )  # 10 steps

    def seconds(load_s):
        monkeypatch.setattr(BatchLoader, "load", lambda self, draw: time.sleep(load_s) or load(self, draw))
        waited_for.clear()
        trainer = loop._Trainer(run)
        trainer.run_ahead = RunAhead()
        return trainer.train_epoch(0, []).seconds

    slow_gpu = seconds(0.0)
    assert len(waited_for) == 6 and slow_gpu["step"] > 6 * WAIT_S > slow_gpu["data"]
    slow_loader = seconds(2 * WAIT_S)
    assert slow_loader["data"] > 2 * WAIT_S  # the first batch at least: later ones are made during the steps


def test_a_worker_s_batches_are_never_copied_on_the_stream_of_its_recordings(tiny_dataset, monkeypatch):
    """PyTorch deals 32 streams in turn; batches that are copied while theirs records a step would become part of it."""
    dealt = itertools.cycle(range(32))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: next(dealt))
    gpu_stream.cache_clear()
    gpu = Device(torch.device("cuda"), None)
    recording = gpu_stream("recording", gpu.torch_device)
    run = TrainingRun(RunConfig(), CHESTXRAY14, tiny_dataset, gpu)
    assert recording not in [BatchLoader(run).stream for _ in range(40)]
    gpu_stream.cache_clear()
