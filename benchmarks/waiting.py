"""How two OpenMP threads should wait for each other: spinning or asleep, alone and beside two busy loops.

    python benchmarks/waiting.py --loops 0 2 --save

Training steps of the default teacher (batches of 16 at 64 px) on two threads. Each way is a process of its own, since
libgomp reads its settings when it loads; a first epoch warms up.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from common import Report, interleaved, paired_ratio, parser

WAYS = {"active": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
"""What is set for each; libgomp spins for milliseconds where nothing is."""
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
NUM_STEPS, BATCH = 8, 16


def main() -> None:
    """Time all ways in turn, first alone, then beside the loops."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--loops", type=int, nargs="+", default=[0, 2], metavar="N", help="busy loops beside")
    options.add_argument("--train", action="store_true", help="be one of the processes that are timed")
    arguments = options.parse_args()
    if arguments.train:
        train(quick=arguments.quick)
        return
    report = Report("waiting", arguments)
    ways = {name: partial(step_ms, environment, quick=arguments.quick) for name, environment in WAYS.items()}
    for num_loops in arguments.loops:
        beside = f"{num_loops} busy loops"
        with busy_loops(num_loops):
            taken = interleaved(ways, arguments.repeats, warm_up=False)
        for name, steps_ms in taken.items():
            each = ", ".join(f"{ms:.0f}" for ms in steps_ms)
            median = statistics.median(steps_ms)
            report.rows.append({"way": name, "beside": beside, "median ms a step": median, "all ms": each})
        ratio = paired_ratio(taken["passive"], taken["active"])
        report.ratio(f"passive / active beside {beside}", ratio, at_most=0.9 if num_loops else 1.05)
    report.finish()


def step_ms(environment: dict[str, str], *, quick: bool) -> float:
    """Mean ms of a step in a process with this environment."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, __file__, "--train", *(["--quick"] if quick else [])]
    done = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, check=True)
    print(f"{environment}: {float(done.stdout):.0f} ms a step", flush=True)
    return float(done.stdout)


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
    """Print the mean ms of a step in the second of two epochs."""
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
        reports = list(fit(TrainingRun(config, CHESTXRAY14, few, choose_device(kind="cpu"))))
    print(1e3 * reports[-1].seconds["step"] / num_steps)


if __name__ == "__main__":
    main()
