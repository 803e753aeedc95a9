"""One GPU: images/s of each student beside the floor of its own step, a search, epochs of the whole data's size.

    python benchmarks/gpu.py --part throughput     # kd.py's students, 224 px, batch 32 and 256
    python benchmarks/gpu.py --part search         # 32 trials on 15,697 training images, in tune_kd.py
    python benchmarks/gpu.py --part epochs         # ConvNeXt-Tiny on 78,484 training images
    python benchmarks/gpu.py --device cpu --quick  # the same code at toy sizes, to see that it runs

Phantoms of the chest task: a thousand drawn ones, repeated into a pixel file as large as the real data's (the search
draws all of its own). Weights are random. The floor is the recorded step (a CUDA graph) replayed on one resident batch;
"trial" is an epoch of the loop, augmented live, with the step taken plainly or recorded. The search's minutes are
those of the whole `tune_kd.py --no-promote`, pixels cached and teacher trained before. Aims on one H100 or H200: 8
minutes for the search, half a minute for an epoch of ConvNeXt-Tiny. Without a GPU every row says "not measured".
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import (
    REPO,
    Report,
    chest_config,
    chest_data,
    device_of,
    enlarged,
    interleaved,
    paired_ratio,
    parser,
    synchronise,
)

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.device import Device, release_memory
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.train.batch_loader import BatchLoader
from xlite.train.loop import EpochReport, fit
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner

SEARCH_AIM_MIN, EPOCH_AIM_S = 8.0, 30.0
NO_KD = {"distill__alpha": 0.0, "model__attention": "none"}


@dataclass(frozen=True)
class Sizes:
    """How much is done: of real data's size, or toys."""

    space: str
    students: tuple[str, ...]
    image_px: int
    batches: tuple[int, ...]
    num_drawn: int
    num_trained: int
    largest: str
    num_epoch: int
    num_search: int
    teacher: str
    num_trials: int
    max_epochs: int


FULL = Sizes(
    space="kd.py",
    students=("mobilenetv3_small_100", "mobilenetv3_large_100", "efficientnet_b0", "convnext_tiny"),
    image_px=224,
    batches=(32, 256),
    num_drawn=1000,
    num_trained=6400,
    largest="convnext_tiny",
    num_epoch=78_484,
    num_search=22_424,  # of which seven tenths, 15,697, are trained on
    teacher="resnet18",
    num_trials=32,
    max_epochs=20,
)
TOYS = Sizes(
    space="kd_cpu.py",
    students=("mobilenetv3_small_050",),
    image_px=32,
    batches=(8,),
    num_drawn=80,
    num_trained=48,
    largest="lcnet_050",
    num_epoch=96,
    num_search=80,
    teacher="mobilenetv3_small_050",
    num_trials=2,
    max_epochs=1,
)


def next_speed(reports: Iterator[EpochReport]) -> float:
    """Images/s of a trial's next epoch."""
    return next(reports).images_per_s


def steps(step: Callable[..., object], batch: Any, num: int, device: Device) -> float:
    """Images/s of so many steps on one batch."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(num):
        step(batch)
    synchronise(device)
    return num * len(batch.targets) / (time.perf_counter() - started)


def resident_speeds(config: RunConfig, dataset: Dataset, device: Device, rounds: int) -> dict[str, list[float]]:
    """The floor, and the plain step, on one batch that lies on the device."""
    run = TrainingRun(config, TASK, dataset, device, num_views=1)
    feed = BatchLoader(run)
    plan = feed.plan(0)
    batch, _ = feed.load(plan[0])
    learner = Learner(run)
    learner.prepare(frozen=False, rate=config.optim.learning_rate)
    synchronise(device)
    graph = GraphStep(learner, batch)
    ways = {"floor": graph.step, "plain step": learner.step}
    return interleaved({name: partial(steps, step, batch, len(plan), device) for name, step in ways.items()}, rounds)


def trial_speeds(config: RunConfig, dataset: Dataset, device: Device, rounds: int) -> dict[str, list[float]]:
    """Epochs of the loop with both kinds of step."""
    trials = {
        f"trial, {step}": fit(
            TrainingRun(config.override({"train.step": step}, source="benchmark"), TASK, dataset, device)
        )
        for step in ("plain", "graph")
    }
    return interleaved({name: partial(next_speed, reports) for name, reports in trials.items()}, rounds)


def throughput(sizes: Sizes, device: Device, rounds: int, folder: Path, report: Report) -> None:
    """A row for each student and batch size."""
    dataset: Dataset | None = None
    for backbone in sizes.students:
        for batch_size in sizes.batches:
            config = chest_config(
                sizes.space,
                **NO_KD,
                model__backbone=backbone,
                optim__batch_size=batch_size,
                train__epochs=rounds + 1,
                train__patience=rounds + 1,
                data__image_size=sizes.image_px,
            )
            if dataset is None:
                drawn = chest_data(folder, config, num_images=sizes.num_drawn)
                dataset = enlarged(drawn, sizes.num_trained, folder / "throughput")
            speeds = resident_speeds(config, dataset, device, rounds)
            release_memory()
            speeds |= trial_speeds(config, dataset, device, rounds)
            release_memory()
            ratios = {name: paired_ratio(taken, speeds["floor"]) for name, taken in speeds.items()}
            row = {"part": "throughput", "what": f"{backbone}, batch {batch_size}", "unit": "images/s"}
            for name, taken in speeds.items():
                report.rows.append(
                    {**row, "way": name, "measured": statistics.median(taken), "over floor": ratios[name]}
                )
            report.ratio(f"trial, graph / floor, {row['what']}", ratios["trial, graph"], at_least=0.95)


def epochs(sizes: Sizes, device: Device, folder: Path, report: Report) -> None:
    """Seconds of an epoch of the largest student; each configuration's first epoch is left out."""
    dataset: Dataset | None = None
    for batch_size in reversed(sizes.batches):
        for step in ("graph", "plain"):
            config = chest_config(
                sizes.space,
                **NO_KD,
                model__backbone=sizes.largest,
                optim__batch_size=batch_size,
                train__epochs=2,
                train__step=step,
                data__image_size=sizes.image_px,
            )
            if dataset is None:
                drawn = chest_data(folder, config, num_images=sizes.num_drawn)
                dataset = enlarged(drawn, sizes.num_epoch, folder / "epochs")
            *_, last = fit(TrainingRun(config, TASK, dataset, device))
            release_memory()
            seconds = last.seconds["data"] + last.seconds["step"]
            waited = last.seconds["data"] / seconds
            what = f"{sizes.largest}, batch {batch_size}, {len(dataset.part('train')):,} images"
            row = {"part": "epochs", "what": what, "unit": "s", "way": f"{step}, {waited:.0%} waiting for data"}
            report.rows.append({**row, "measured": seconds, "over floor": ""})
            report.ratio(f"epoch / {EPOCH_AIM_S:g} s, {what}, {step}", seconds / EPOCH_AIM_S, at_most=1)


def search(sizes: Sizes, device: Device, folder: Path, report: Report, budget: str | None) -> None:
    """Minutes of `tune_kd.py`, and how its trials ended."""
    data = folder / "search"
    write_phantom(data, num_images=sizes.num_search, image_px=256)
    space = folder / "space.py"  # the space's students from random weights: nothing is downloaded
    space.write_text(
        f"import runpy\n\n_OF = runpy.run_path({str(REPO / 'search_spaces' / sizes.space)!r})\n"
        'BASELINE = {**_OF["BASELINE"], "model.pretrained": False}\n\n\n'
        'def space(trial):\n    return {**_OF["space"](trial), "model.pretrained": False}\n'
    )
    shared = ["--data", data, "--image-size", sizes.image_px, "--cache-dir", folder / "cache"]
    teacher = [
        "--backbone",
        sizes.teacher,
        "--epochs",
        1,
        "--out",
        folder / "teacher",
        "--set",
        "model.pretrained=false",
    ]
    run("train_teacher.py", [*shared, *teacher], device)
    own = ["--study", "s", "--results", folder / "results", "--space", space, "--no-promote"]
    own += ["--trials", sizes.num_trials, "--max-epochs", sizes.max_epochs]
    own += ["--teacher", folder / "teacher" / "teacher.safetensors", *(["--time-budget", budget] if budget else [])]
    started = time.perf_counter()
    run("tune_kd.py", [*shared, *own], device)
    minutes = (time.perf_counter() - started) / 60
    with (folder / "results" / "s" / "leaderboard.csv").open() as file:
        ended = Counter(row["status"] for row in csv.DictReader(file))
    how = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
    num_trained = round(0.7 * sizes.num_search)
    what = f"{sizes.num_trials} trials of up to {sizes.max_epochs} epochs, {num_trained:,} images"
    report.rows.append(
        {"part": "search", "what": what, "unit": "min", "way": how, "measured": minutes, "over floor": ""}
    )
    report.ratio(f"search / {SEARCH_AIM_MIN:g} min ({how})", minutes / SEARCH_AIM_MIN, at_most=1)


def run(runner: str, options: list[Any], device: Device) -> None:
    """A runner in a process of its own, on the device this one uses."""
    hidden = {} if device.on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(REPO / "runners" / runner), *map(str, options)]
    subprocess.run(command, check=True, env={**os.environ, **hidden})


def not_measured(parts: list[str], report: Report) -> None:
    """The rows there would be."""
    for part in parts:
        whats = {
            "throughput": [f"{name}, batch {size}" for name in FULL.students for size in FULL.batches],
            "search": [f"{FULL.num_trials} trials, {round(0.7 * FULL.num_search):,} images"],
            "epochs": [f"{FULL.largest}, batch {size}, {FULL.num_epoch:,} images" for size in FULL.batches],
        }[part]
        report.rows.extend({"part": part, "what": what, "measured": "not measured"} for what in whats)
    report.notes.append("There is no GPU here: ratio not measured")


def main() -> None:
    options = parser(__doc__, repeats=5)
    parts = ("throughput", "search", "epochs")
    options.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    options.add_argument("--time-budget", metavar="T", help="of the search, e.g. 8m: no trial is begun after this")
    arguments = options.parse_args()
    report = Report("gpu" if len(arguments.part) > 1 else f"gpu_{arguments.part[0]}", arguments)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        not_measured(arguments.part, report)
        report.finish()
        return
    device = device_of(arguments)
    sizes = TOYS if arguments.quick or not device.on_gpu else FULL
    rounds = 1 if arguments.quick else arguments.repeats
    with tempfile.TemporaryDirectory() as place:
        for part in arguments.part:
            folder = Path(place) / part
            folder.mkdir()
            if part == "throughput":
                throughput(sizes, device, rounds, folder, report)
            elif part == "epochs":
                epochs(sizes, device, folder, report)
            else:
                search(sizes, device, folder, report, arguments.time_budget)
    report.finish()


if __name__ == "__main__":
    main()
