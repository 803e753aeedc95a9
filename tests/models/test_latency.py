"""A latency is what a model takes by itself, whatever runs beside it; timing leaves everything as it was."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from xlite.config import ModelConfig
from xlite.device import choose_device
from xlite.models import latency
from xlite.models.build import build_model
from xlite.models.latency import MAX_ROUNDS, NUM_ROUNDS, RUNS_A_TURN, measure_latencies
from xlite.models.limits import Cost, Limits

IMAGE = (torch.zeros(1, 64, 64, dtype=torch.uint8), None)


class Scripted(nn.Module):
    """Works and then sleeps for so many ms; notes its calls in a list that several share."""

    def __init__(self, name: str = "a", calls: list | None = None, *, work_ms: float = 0.0, sleep_ms: float = 0.0):
        super().__init__()
        self.name, self.calls, self.work_ms, self.sleep_ms = name, [] if calls is None else calls, work_ms, sleep_ms

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = (tuple(x.shape), self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        self.calls.append((self.name, state))
        until = time.thread_time() + self.work_ms / 1e3
        while time.thread_time() < until:
            pass
        time.sleep(self.sleep_ms / 1e3)
        return x


@contextmanager
def busy_loops() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(latency._Clocked, "slowdown", lambda self: 1.0)
    monkeypatch.setattr(latency, "MIN_S", 0.0)


def measure_one(model: nn.Module, *, threads: int = 1, **known) -> latency.Latency:
    (measured,) = measure_latencies([model], IMAGE, device="cpu", threads=threads, **known)
    return measured


def test_models_take_turns_in_evaluation_mode_and_everything_is_put_back(quiet) -> None:
    calls: list = []
    models = [Scripted("a", calls).train(), Scripted("b", calls).eval()]
    threads = torch.get_num_threads()
    measure_latencies(models, IMAGE, device="cpu", threads=threads + 1)
    assert {state for _, state in calls} == {((1, 64, 64), False, True, threads + 1)}
    turn = 1 + RUNS_A_TURN
    assert [name for name, _ in calls] == ["a", "b", *(["a"] * turn + ["b"] * turn) * NUM_ROUNDS]
    assert torch.get_num_threads() == threads and [model.training for model in models] == [True, False]


def test_the_thread_count_is_put_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(NotImplementedError):
        measure_one(nn.Module(), threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_on_one_thread_time_that_others_took_is_left_out(quiet) -> None:
    measured = measure_one(Scripted(work_ms=2.0, sleep_ms=6.0))
    assert 2.0 <= measured.latency_ms < 4.0


def test_on_several_threads_the_clock_counts_and_what_others_may_have_taken_is_in_the_spread(quiet) -> None:
    measured = measure_one(Scripted(work_ms=2.0, sleep_ms=6.0), threads=2)
    assert measured.latency_ms >= 8.0 and measured.latency_ms - measured.latency_spread_ms < 4.0


def test_a_busy_machine_is_measured_again_for_a_limited_time(monkeypatch) -> None:
    monkeypatch.setattr(latency._Clocked, "slowdown", lambda self: 2.0)
    model = Scripted()
    measure_one(model)
    assert len(model.calls) == 1 + MAX_ROUNDS * (1 + RUNS_A_TURN)
    monkeypatch.setattr(latency, "MAX_S", 0.0)
    model.calls.clear()
    measure_one(model)
    assert len(model.calls) == 1 + 1 + RUNS_A_TURN


def test_a_reference_slower_than_it_is_known_to_be_widens_the_spread(quiet) -> None:
    model = Scripted(work_ms=3.0)
    known_ms = measure_one(model).reference_ms / 2
    slower = measure_one(model, known_reference_ms=known_ms)
    share_slower = slower.reference_ms / known_ms - 1  # about 1, but the reference itself varies on a busy machine
    assert slower.latency_spread_ms >= 0.99 * share_slower * slower.latency_ms > 0


@pytest.mark.slow  # its outcome depends on what else the machine does
def test_the_same_weights_have_the_same_latency_alone_and_beside_two_busy_loops() -> None:
    student = choose_device(kind="cpu").move(
        build_model(ModelConfig(backbone="mobilenetv3_small_050"), num_labels=14, seed=0)
    )
    alone = measure_one(student)
    with busy_loops():
        beside = measure_one(student, known_reference_ms=alone.reference_ms)
    spread_ms = alone.latency_spread_ms + beside.latency_spread_ms
    assert abs(alone.latency_ms - beside.latency_ms) <= spread_ms, (alone, beside)
    limits = Limits(max_latency_ms=1.4 * alone.latency_ms)
    assert limits.broken_by(Cost(1, 1.0, **vars(beside))) is None, (alone, beside)


@pytest.mark.gpu
def test_latency_on_cuda_is_synchronised() -> None:
    student = build_model(ModelConfig(), num_labels=14, seed=0)
    (measured,) = measure_latencies([student], IMAGE, device="cuda", threads=1)
    assert measured.latency_ms > 0.1


def test_a_latency_breaks_its_limit_only_beyond_its_spread() -> None:
    def timed(ms: float, spread_ms: float | None = 0.5) -> Cost:
        return Cost(1, 1.0, ms, spread_ms)

    limits = Limits(max_latency_ms=4.0)
    broken = {ms: limits.broken_by(timed(ms)) is not None for ms in (3.4, 3.6, 4.4, 4.6)}
    assert broken == {3.4: False, 3.6: False, 4.4: False, 4.6: True}
    undecided = {ms: limits.undecided_by(timed(ms)) for ms in (3.4, 3.6, 4.4, 4.6)}
    assert undecided == {3.4: False, 3.6: True, 4.4: True, 4.6: False}
    assert limits.broken_by(timed(4.6)) == "4.6 ms (± 0.5) > --max-latency-ms 4"
    assert limits.broken_by(timed(4.1, None)) and not limits.undecided_by(timed(4.1, None))
    assert not Limits().undecided_by(timed(4.1)) and not limits.undecided_by(Cost(1, 1.0))
