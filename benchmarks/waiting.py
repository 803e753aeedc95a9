"""How long OpenMP threads should spin before they sleep while they wait for each other, alone and beside busy loops.

    python benchmarks/waiting.py --save

Training steps of the default teacher (batches of 16 at 64 px) on two threads. Each way is a process of its own, since
libgomp reads its settings when it loads; a first epoch warms up. What other processes took of the cores is noted.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
from common import Report, interleaved, paired_ratio, parser

WAYS = {"active": {}, "short": {"GOMP_SPINCOUNT": "1000"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
"""What is set for each: libgomp spins for milliseconds, microseconds, not at all."""
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
NUM_STEPS, BATCH = 8, 16


def main() -> None:
    """Time all ways in turn, beside each number of loops."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--loops", type=int, nargs="+", default=[0, 2], metavar="N", help="busy loops beside")
    options.add_argument("--train", action="store_true", help="be one of the processes that are timed")
    arguments = options.parse_args()
    if arguments.train:
        train(quick=arguments.quick)
        return
    report = Report("waiting", arguments)
    for num_loops in arguments.loops:
        beside = f"{num_loops} busy loops"
        others: dict[str, list[float]] = {name: [] for name in WAYS}
        ways = {
            name: partial(step_ms, environment, others[name], quick=arguments.quick)
            for name, environment in WAYS.items()
        }
        with busy_loops(num_loops):
            taken = interleaved(ways, arguments.repeats, warm_up=False)
        for name, steps_ms in taken.items():
            each = ", ".join(f"{ms:.0f}" for ms in steps_ms)
            cores = ", ".join(f"{number:.1f}" for number in others[name])
            ms = statistics.median(steps_ms)
            report.rows.append({"way": name, "beside": beside, "ms a step": ms, "all": each, "others' cores": cores})
        for name in ("short", "passive"):
            ratio = paired_ratio(taken[name], taken["active"])
            report.ratio(f"{name} / active beside {beside}", ratio, at_most=0.5 if num_loops else 1.1)
    report.finish()


def step_ms(environment: dict[str, str], others: list[float], *, quick: bool) -> float:
    """Mean ms of a step in a process with this environment; the cores that others used join `others`."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, __file__, "--train", *(["--quick"] if quick else [])]
    done = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, check=True)
    ms, cores = map(float, done.stdout.split())
    others.append(cores)
    print(f"{environment}: {ms:.0f} ms a step, others used {cores:.2f} cores", flush=True)
    return ms


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """So many processes that always want a core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def train(*, quick: bool) -> None:
    """Print the mean ms of a step in the second of two epochs, and how many cores other processes used in it."""
    from durability import make_dataset

    from xlite.config import RunConfig
    from xlite.device import choose_device
    from xlite.tasks.chestxray14 import CHESTXRAY14
    from xlite.train.loop import fit
    from xlite.train.run import TrainingRun

    num_steps = 2 if quick else NUM_STEPS
    values = {"model.backbone": "resnet10t", "data.image_size": 64, "train.threads": 2, "train.epochs": 2}
    config = RunConfig().override({**values, "optim.batch_size": BATCH}, source="benchmark")
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        parts = {
            **dataset.parts,
            "train": dataset.parts["train"][: num_steps * BATCH],
            "val": dataset.parts["val"][:32],
        }
        few = replace(dataset, parts=parts)
        epochs = fit(TrainingRun(config, CHESTXRAY14, few, choose_device(kind="cpu")))
        next(epochs)
        before, report, after = used_s(), next(epochs), used_s()
    everybody, own, passed = (late - early for early, late in zip(before, after, strict=True))
    print(1e3 * report.seconds["step"] / num_steps, max(0.0, everybody - own) / passed)


def used_s() -> tuple[float, float, float]:
    """Seconds of cores that all processes and this one have used, and the time."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system, sum(os.times()[:2]), time.perf_counter()


if __name__ == "__main__":
    main()
