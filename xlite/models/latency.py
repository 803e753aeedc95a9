"""How long a model takes for one image, measured on a machine that may be busy with other work."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from xlite.device import torch_threads
from xlite.models.build import call

NUM_ROUNDS, MAX_ROUNDS = 8, 64
RUNS_A_TURN = 2
"""Timed runs of a model before the next one has its turn; one more before them brings its weights into the caches."""
BUSY_SLOWDOWN = 1.25
"""Above this the machine is busy, and rounds are added up to MAX_ROUNDS."""
MIN_S, MAX_S = 0.5, 12.0
"""Rounds go on for so long, since a machine may be slow for a moment; after MAX_S none is added to the first."""
MIN_SPREAD = 0.1
"""Share of a latency by which measurements differ that all looked undisturbed."""
_REFERENCE_SIZE = 384  # about 1 ms on a core: long enough to be interrupted on a busy machine, as models are


@dataclass(frozen=True)
class Latency:
    """Of one image.

    Attributes:
        latency_ms: of the fastest run.
        latency_spread_ms: another measurement of the same model may differ by this much.
        reference_ms: of a fixed matrix product beside it, at its fastest: tells machines and their states apart.
        latency_median_ms, latency_p95_ms: of all timed runs, 16 or more, each after an untimed one.
    """

    latency_ms: float
    latency_spread_ms: float
    reference_ms: float
    latency_median_ms: float
    latency_p95_ms: float


@dataclass(frozen=True)
class _Clocked:
    """Runs of one function, in ms: by the clock, and the calling thread's own time, without what others took."""

    function: Callable[[], object]
    device: torch.device
    wall_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)

    def run(self) -> None:
        own_s, wall_s = time.thread_time(), time.perf_counter()
        self.function()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.wall_ms.append(1e3 * (time.perf_counter() - wall_s))
        self.own_ms.append(1e3 * (time.thread_time() - own_s))

    def slowdown(self) -> float:
        """How many times as long all runs took as they would have at the fastest one's speed."""
        return statistics.fmean(self.wall_ms) / min(self.wall_ms)


def measure_latencies(
    models: Sequence[nn.Module],
    example: tuple[Tensor, Tensor | None],
    *,
    device: torch.device | str,
    threads: int,
    known_reference_ms: float | None = None,
) -> list[Latency]:
    """Latency of each model in evaluation mode, the fastest of many runs in turn; more of them on a busy machine.

    On one CPU thread the thread's own time counts, which leaves out what other processes took. The models are left on
    `device`, in the mode they came in; the thread count is put back.

    Args:
        example: a batch of one and its auxiliary integers, as `Device.inputs` gives them.
        threads: CPU threads to time with.
        known_reference_ms: of an earlier measurement; where the reference is slower now, the spread is wider.
    """
    device = torch.device(device)
    modes = [model.training for model in models]
    images, auxiliary = (None if part is None else part.to(device) for part in example)
    assert images is not None
    matrix = torch.ones(_REFERENCE_SIZE, _REFERENCE_SIZE, device=device)
    reference = _Clocked(partial(torch.mm, matrix, matrix), device)
    runs = [_Clocked(partial(call, model.to(device).eval(), images, auxiliary), device) for model in models]
    try:
        with torch_threads(threads), torch.inference_mode():
            _take_turns(runs, reference)
    finally:
        for model, was_training in zip(models, modes, strict=True):
            model.train(was_training)
    counts_own = device.type == "cpu" and threads == 1
    return [_latency(each, reference, counts_own=counts_own, known_reference_ms=known_reference_ms) for each in runs]


def _take_turns(runs: Sequence[_Clocked], reference: _Clocked) -> None:
    started = time.monotonic()
    reference.function()
    for each in runs:
        each.function()  # choosing kernels and allocating takes long the first time
    for number in range(MAX_ROUNDS):
        passed_s = time.monotonic() - started
        if number >= NUM_ROUNDS and passed_s > MIN_S and reference.slowdown() < BUSY_SLOWDOWN:
            return
        for each in runs:
            if number and time.monotonic() - started > MAX_S:
                return
            reference.run()
            each.function()
            for _ in range(RUNS_A_TURN):
                each.run()


def _latency(runs: _Clocked, reference: _Clocked, *, counts_own: bool, known_reference_ms: float | None) -> Latency:
    times_ms = runs.own_ms if counts_own else runs.wall_ms
    fastest_ms, reference_ms = min(times_ms), min(reference.own_ms)
    known_ms = min(reference_ms, known_reference_ms or reference_ms)
    slower = statistics.fmean(reference.own_ms) / known_ms - 1  # by caches shared with others, or a slower clock
    scatter_ms = statistics.median(times_ms) - fastest_ms
    others_ms = fastest_ms - min(runs.own_ms)  # at most so much of the fastest run belongs to other processes
    spread_ms = max(scatter_ms, others_ms, slower * fastest_ms, MIN_SPREAD * fastest_ms)
    p95_ms = float(np.percentile(times_ms, 95, method="inverted_cdf"))
    return Latency(fastest_ms, spread_ms, reference_ms, statistics.median(times_ms), p95_ms)
