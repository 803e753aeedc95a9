"""Trials an hour when small students share a CPU, over one trial at a time.

    python benchmarks/packing.py                    # 2 workers of one thread on two cores

Every way trains the same trials: phantoms of the chest task, pixels and teacher's answers from a bank, students of
kd_cpu.py at 64 px. Workers are processes that train one trial after another with the loop a study uses; starting them,
which Ray does once a study, is left out. All ways are confined to as many cores as there are workers, and "one at a
time" may use all of them: the better of one thread and as many as there are cores is held against.

On a GPU: python runners/check_gpu.py --steps mps
"""

import argparse
import multiprocessing
import os
import queue
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common import (
    Report,
    bank_of,
    chest_config,
    chest_data,
    interleaved,
    paired_ratio,
    parser,
    untrained_teacher,
)

from xlite.config import RunConfig
from xlite.cores import available_cpus
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.distill.bank import Bank
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.loop import fit
from xlite.train.run import TrainingRun

STUDENTS = ("mobilenetv3_small_050", "mobilenetv3_small_075", "lcnet_050")
TIMEOUT_S = 1800
NUM_VIEWS = 2


@dataclass(frozen=True)
class Work:
    """What each worker needs: the trials' configurations differ in backbone and seed alone."""

    config: RunConfig
    students: tuple[str, ...]
    dataset: Dataset
    bank: Bank

    def train(self, number: int, threads: int, epochs: int | None = None) -> None:
        """Trial `number`, to its end."""
        own = {"model.backbone": self.students[number % len(self.students)], "train.threads": threads}
        epochs = epochs or self.config.train.epochs
        config = self.config.override({**own, "train.seed": number, "train.epochs": epochs}, source="benchmark")
        for _ in fit(TrainingRun(config, TASK, self.dataset, choose_device(kind="cpu"), self.bank)):
            pass


def serve(work: Work, threads: int, asked: Any, answered: Any) -> None:
    """Warm up on one epoch of each student, say so, then train what is asked for until None is."""
    try:
        for number in range(len(work.students)):
            work.train(number, threads, epochs=1)
        answered.put("ready")
        while (number := asked.get()) is not None:
            work.train(number, threads)
            answered.put("done")
    except Exception as error:  # the parent ends the benchmark with it
        answered.put(f"{type(error).__name__}: {error}")


class Workers:
    """Processes that wait for trials; idle ones use no core."""

    def __init__(self, work: Work, num: int, *, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.asked, self.answered = context.Queue(), context.Queue()
        self.processes = [
            context.Process(target=serve, args=(work, threads, self.asked, self.answered), daemon=True)
            for _ in range(num)
        ]
        with changed_environment({"OMP_NUM_THREADS": str(threads)}):
            for process in self.processes:
                process.start()

    def wait_until_ready(self) -> None:
        """They have warmed up."""
        self.wait("ready", len(self.processes))

    def wait(self, word: str, times: int) -> None:
        """Until all have said so."""
        deadline = time.monotonic() + TIMEOUT_S
        while times:
            try:
                said = self.answered.get(timeout=5)
            except queue.Empty:
                if time.monotonic() > deadline or not all(process.is_alive() for process in self.processes):
                    raise RuntimeError("a worker died or hangs") from None
                continue
            if said != word:
                raise RuntimeError(f"a worker failed: {said}")
            times -= 1

    def trials_per_hour(self, num_trials: int) -> float:
        """Train so many."""
        started = time.perf_counter()
        for number in range(num_trials):
            self.asked.put(number)
        self.wait("done", num_trials)
        return 3600 * num_trials / (time.perf_counter() - started)

    def end(self) -> None:
        """Let them go."""
        for _ in self.processes:
            self.asked.put(None)
        for process in self.processes:
            process.join(timeout=30)
            if process.is_alive():
                process.terminate()
                process.join()


@contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """This process's environment, for the processes started meanwhile."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def measure(work: Work, arguments: argparse.Namespace) -> tuple[dict[str, list[float]], list[str]]:
    """Trials an hour of each way, round by round, and the names of the ways that take one at a time."""
    pools: dict[str, Workers] = {}
    with ExitStack() as held:

        def add(name: str, num: int, *, threads: int = 1) -> None:
            pools[name] = Workers(work, num, threads=threads)
            held.callback(pools[name].end)

        alone = {"one at a time, 1 thread": 1, **{f"one at a time, {num} threads": num for num in arguments.workers}}
        for name, threads in alone.items():
            add(name, 1, threads=threads)
        for num in arguments.workers:
            add(f"{num} at once", num)
        for workers in pools.values():
            workers.wait_until_ready()
        ways = {name: partial(workers.trials_per_hour, arguments.trials) for name, workers in pools.items()}
        return interleaved(ways, arguments.repeats, warm_up=False), list(alone)


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--workers", type=int, nargs="+", metavar="N", default=[2], help="at once (default: 2)")
    options.add_argument("--trials", type=int, default=12, help="trials of one round")
    options.add_argument("--epochs", type=int, default=2, help="of a trial")
    arguments = options.parse_args()
    if arguments.device == "cuda":
        options.error("it measures a CPU; of a GPU: python runners/check_gpu.py --steps mps")
    device, students = choose_device(kind="cpu"), STUDENTS
    if arguments.quick:
        arguments.trials, arguments.epochs, arguments.repeats, students = 2, 1, 1, students[:1]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: max(arguments.workers)])  # the workers inherit it
    size = 32 if arguments.quick else 64
    config = chest_config("kd_cpu.py", train__epochs=arguments.epochs, data__image_size=size, model__attention="none")
    report = Report("packing", arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dataset = chest_data(folder, config, num_images=80 if arguments.quick else 1000)
        teacher = untrained_teacher("mobilenetv3_small_050", dataset, device)
        bank = bank_of(teacher, dataset, config, device, folder, num_views=NUM_VIEWS, pixels=True)
        speeds, alone = measure(Work(config, students, dataset, bank), arguments)
    report.notes.append(
        f"{arguments.trials} trials of {arguments.epochs} epochs of {len(dataset.part('train')):,} phantoms at "
        f"{size} px, batch {config.optim.batch_size}, {', '.join(students)}, {available_cpus()} cores"
    )
    against = max(alone, key=lambda name: statistics.median(speeds[name]))
    for name, taken in speeds.items():
        ratio = paired_ratio(taken, speeds[against])
        report.rows.append({"way": name, "trials/hour": statistics.median(taken), f"over {against}": ratio})
        if name not in alone:
            report.ratio(f"{name} / {against}", ratio, at_least=1.5)
    report.finish()


if __name__ == "__main__":
    main()
