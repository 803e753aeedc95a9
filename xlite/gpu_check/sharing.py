"""The step on several processes on one GPU, taking turns and through MPS. It uses no CUDA itself."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from xlite.gpu.mps import PIPE_VARIABLE, mps_daemon
from xlite.gpu_check.material import images
from xlite.gpu_check.place import Place, Wrong

PACKING_GOAL = 2.5
_READY_S, _ANSWER_S = 100.0, 30.0


class Clients:
    """Processes that wait for work; see `xlite.gpu_check.client`."""

    def __init__(self, num: int, device: str, dataset: Sequence[str], environment: Mapping[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_MPS_")}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "xlite.gpu_check.client", device, *dataset],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**own, **environment, "OMP_NUM_THREADS": "1"},
            )
            for _ in range(num)
        ]

    def ready(self) -> list[dict[str, Any] | None]:
        """What each says once it has trained; None of one that is lost, or takes longer than `_READY_S`."""
        return [self.answer(number, _READY_S) for number in range(len(self.processes))]

    def tell(self, number: int, line: str) -> None:
        """Give one of them work."""
        pipe = self.processes[number].stdin
        assert pipe is not None
        pipe.write(line + "\n")
        pipe.flush()

    def answer(self, number: int, limit_s: float = _ANSWER_S) -> dict[str, Any] | None:
        """Its next line; None where it is lost or takes longer, and then it is killed."""
        process = self.processes[number]
        assert process.stdout is not None
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        return json.loads(line) if line else None

    def images_per_s(self, num: int, command: str, seconds: float) -> float:
        """Of the first `num` at once.

        Raises:
            Wrong: one of them is lost.
        """
        for number in range(num):
            self.tell(number, f"{command} {seconds}")
        answers = [self.answer(number) for number in range(num)]
        if any(answer is None for answer in answers):
            raise Wrong(f"{sum(answer is None for answer in answers)} of {num} processes were lost while they trained")
        return sum(answer["images"] / answer["seconds"] for answer in answers if answer is not None)

    def end(self) -> None:
        """Let them go."""
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def clients(num: int, device: str, dataset: Sequence[str], environment: Mapping[str, str]) -> Iterator[Clients]:
    """Clients that have trained.

    Raises:
        Wrong: one could not.
    """
    started = Clients(num, device, dataset, environment)
    try:
        for said in started.ready():
            if said is None or "error" in said:
                raise Wrong("a process cannot train: " + (said["error"] if said else "it was lost, or hangs"))
        yield started
    finally:
        started.end()


def mps(place: Place) -> str:
    """Images/s of 1, 4 and 8 processes; with MPS one is limited and one is killed; no daemon outlives it."""
    nums = place.pick((1, 4, 8), (1, 2))
    px, num = place.pick((224, 2048), (32, 64))
    images(place.folder, px=px, num_train=num, num_val=8, distinct=num)  # written once, for all clients
    dataset = (str(place.folder), str(px), str(num))
    before = _mps_processes()
    turns = _measure(place, dataset, nums, {}, "taking turns")
    one = turns[1]
    best = f"taking turns {max(turns.values()) / one:.2f}x one at a time"
    with mps_daemon(place.folder / "mps", num_gpus=1 if place.on_gpu else 0) as daemon:
        place.number("MPS", daemon.reason or "started")
        if daemon.environment:
            overlapping = _measure(place, dataset, nums, daemon.environment, "MPS")
            for number, speed in overlapping.items():
                goal = PACKING_GOAL if number == max(nums) else None
                place.number(f"MPS, {number} at once over one at a time", speed / one, at_least=goal)
            best = f"MPS {max(overlapping.values()) / one:.2f}x one at a time, {best}"
        else:
            best = f"no MPS ({daemon.reason}); {best}"
    place.must("MPS processes left over", len(_mps_processes() - before), at_most=0)
    if place.on_gpu:
        _dead_pipe(place, dataset)
    return best


def _measure(
    place: Place, dataset: Sequence[str], nums: tuple[int, ...], environment: Mapping[str, str], way: str
) -> dict[int, float]:
    """Images/s by number of processes, with batches from the loader."""
    seconds, most = place.pick(3.0, 0.1), max(nums)
    with clients(most, place.device, dataset, environment) as started:
        speeds = {}
        for num in nums:
            speeds[num] = started.images_per_s(num, "train", seconds)
            place.number(f"{way}, {num} at once, images/s", speeds[num])
        for num in (1, most):
            resident = started.images_per_s(num, "resident", seconds)
            place.number(f"{way}, {num} at once on a resident batch, images/s", resident)
        if environment:
            _check_limit(place, started)
            _kill_one(place, started)
    return speeds


def _check_limit(place: Place, started: Clients) -> None:
    """That PyTorch's limit holds for a client of MPS."""
    started.tell(0, "allocate 0.1")
    limited = started.answer(0)
    place.must("a client limited to a tenth of the memory gets it", bool(limited and limited["inside"]))
    place.must("and no more", bool(limited and limited["beyond"]))


def _kill_one(place: Place, started: Clients) -> None:
    """SIGKILL to one of them while all train; the others must go on."""
    num = len(started.processes)
    for number in range(num):
        started.tell(number, "train 3")
    time.sleep(1)
    started.processes[-1].kill()
    answers = [started.answer(number) for number in range(num - 1)]
    place.must("clients that live on when one is killed", sum(each is not None for each in answers), at_least=num - 1)


def _dead_pipe(place: Place, dataset: Sequence[str]) -> None:
    """A process told of a daemon that is not there: it trains all the same or says why not, but does not hang."""
    pipes = place.folder / "nothing"
    pipes.mkdir()
    started = Clients(1, place.device, dataset, {PIPE_VARIABLE: str(pipes)})
    try:
        (said,) = started.ready()
    finally:
        started.end()
    place.must("with a pipe folder without a daemon, a process does not hang", said is not None)
    place.number("what it does", (said or {}).get("error", "trains"))


def _mps_processes() -> set[int]:
    """Of anybody on this machine."""
    listed = psutil.process_iter(["cmdline"])
    return {process.pid for process in listed if "nvidia-cuda-mps" in " ".join(process.info["cmdline"] or ())}
