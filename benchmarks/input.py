"""What feeding costs a trial: its images/s end to end over those of the same step on one resident batch.

    python benchmarks/input.py

Phantoms of the chest task; kd_cpu.py's baseline student at 64 px, or on a GPU kd.py's at 224 px, distilled as in a
study. "bank's pixels": what most trials read; "augmented live": what a study does whose views are more than 2 GiB.
A trial's thread of its own makes the batches, so on a CPU each way is measured twice: with all cores, where that thread
has one to itself, and confined to one core, as when a study keeps all cores busy with trials. Evaluation is left out.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import (
    Report,
    bank_of,
    chest_config,
    chest_data,
    device_of,
    enlarged,
    interleaved,
    paired_ratio,
    parser,
    synchronise,
    untrained_teacher,
)

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import BatchLoader
from xlite.train.loop import fit
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner

NUM_VIEWS = 2


@contextmanager
def confined(cores: str) -> Iterator[None]:
    """On one core where `cores` says so; threads made meanwhile are confined too."""
    if cores != "one core":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def trial(config: RunConfig, dataset: Dataset, device: Device, bank: Bank, cores: str) -> Callable[[], float]:
    """Images/s of the next epoch of a trial: waiting for data, and steps."""
    reports = fit(TrainingRun(config, TASK, dataset, device, bank))

    def run() -> float:
        with confined(cores):
            return next(reports).images_per_s

    return run


def resident(config: RunConfig, dataset: Dataset, device: Device, bank: Bank, cores: str) -> Callable[[], float]:
    """Images/s of as many steps on one batch that lies on the device."""
    trained = TrainingRun(config, TASK, dataset, device, bank)
    feed = BatchLoader(trained)
    plan = feed.plan(0)
    batch, _ = feed.load(plan[0])
    learner = Learner(trained)
    learner.prepare(frozen=False, rate=config.optim.learning_rate)
    synchronise(device)
    step = GraphStep(learner, batch).step if config.train.step == "graph" else learner.step

    def run() -> float:
        with confined(cores):
            started = time.perf_counter()
            for _ in plan:
                step(batch)
            synchronise(device)
            return sum(len(draw.positions) for draw in plan) / (time.perf_counter() - started)

    return run


def main() -> None:
    arguments = parser(__doc__, repeats=11).parse_args()
    device = device_of(arguments)
    rounds = 2 if arguments.quick else arguments.repeats
    size = 32 if arguments.quick else 224 if device.on_gpu else 64
    config = chest_config(
        "kd.py" if device.on_gpu else "kd_cpu.py",
        train__epochs=rounds + 1,
        train__patience=rounds + 1,
        data__image_size=size,
    )
    places = ["all cores"]
    if not device.on_gpu and hasattr(os, "sched_setaffinity"):
        places.append("one core")
    ways: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dataset = chest_data(folder, config, num_images=80 if arguments.quick else 1000)
        if device.on_gpu and not arguments.quick:
            dataset = enlarged(dataset, 4096, folder / "large")
        teacher = untrained_teacher("mobilenetv3_small_050", dataset, device)
        banks = {
            name: bank_of(teacher, dataset, config, device, folder, num_views=NUM_VIEWS, pixels=pixels)
            for name, pixels in (("bank's pixels", True), ("augmented live", False))
        }
        names = [(step, cores) for step in (("plain", "graph") if device.on_gpu else ("plain",)) for cores in places]
        for step, cores in names:
            chosen = config.override({"train.step": step}, source="benchmark")
            ways[f"resident {step} {cores}"] = resident(chosen, dataset, device, banks["bank's pixels"], cores)
            for pixels, bank in banks.items():
                ways[f"{pixels} {step} {cores}"] = trial(chosen, dataset, device, bank, cores)
        speeds = interleaved(ways, rounds)
    write(arguments, config, dataset, device, names, list(banks), speeds)


def write(
    arguments: argparse.Namespace,
    config: RunConfig,
    dataset: Dataset,
    device: Device,
    names: list[tuple[str, str]],
    feedings: list[str],
    speeds: dict[str, list[float]],
) -> None:
    """The table of (step, cores) by feeding, and the ratios."""
    report = Report("input", arguments)
    report.notes.append(
        f"{config.model.backbone} + {config.model.attention}, batch {config.optim.batch_size}, "
        f"{len(dataset.part('train')):,} phantoms at {config.data.image_size} px, "
        f"{config.data.augmentation} augmentation, on {device.name}, one thread"
    )
    for step, cores in names:
        floor = speeds[f"resident {step} {cores}"]
        row: dict[str, Any] = {"step": step, "cores": cores, "resident images/s": statistics.median(floor)}
        for pixels in feedings:
            taken = speeds[f"{pixels} {step} {cores}"]
            row[f"{pixels} images/s"] = statistics.median(taken)
            ratio = row[f"{pixels} / resident"] = paired_ratio(taken, floor)
            report.ratio(f"trial / resident batch, {pixels}, {step} step, {cores}", ratio, at_least=0.95)
        report.rows.append(row)
    report.finish()


if __name__ == "__main__":
    main()
