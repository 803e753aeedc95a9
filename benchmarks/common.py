"""What the benchmarks share: options, phantoms of the chest task, a teacher with its bank, interleaved runs, tables."""

import argparse
import itertools
import os
import platform
import runpy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xlite.config import RunConfig
from xlite.console import SilentConsole
from xlite.cores import available_cpus
from xlite.data.dataset import Dataset
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.device import Device, choose_device
from xlite.distill.bank import Bank, open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.teacher import Teacher
from xlite.distill.teachers.own import OwnModel
from xlite.gpu_check.machine import installed
from xlite.models.build import build_model
from xlite.storage.files import write_json
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK
from xlite.tasks.prepare import DataRequest, prepare

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks" / "results"
_UNLIMITED = 2**60


def parser(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that all of them have."""
    out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    out.add_argument("--repeats", type=int, default=repeats, help="rounds of all ways in turn")
    out.add_argument("--quick", action="store_true", help="toy sizes: that it runs, not what it measures")
    out.add_argument("--save", action="store_true", help="write benchmarks/results/<name>.json too")
    return out


def device_of(arguments: argparse.Namespace) -> Device:
    """The device asked for; the GPU where there is one and nothing was."""
    return choose_device(kind=None if arguments.device == "auto" else arguments.device)


def chest_config(space: str, **changes: Any) -> RunConfig:
    """The BASELINE of a search space, from random weights; changes as dotted keys with `__` for the dot."""
    baseline = runpy.run_path(str(REPO / "search_spaces" / space))["BASELINE"]
    own = {key.replace("__", "."): value for key, value in changes.items()}
    return RunConfig().override({**baseline, "model.pretrained": False, **own}, source="benchmark")


def chest_data(folder: Path, config: RunConfig, *, num_images: int) -> Dataset:
    """Phantom radiographs drawn at 256 px, read, cached and split as a study does."""
    write_phantom(folder / "raw", num_images=num_images, image_px=256)
    request = DataRequest(folder / "raw", config.data, "patient", 42, "1", folder / "cache")
    return prepare(TASK, request, SilentConsole()).full


def enlarged(dataset: Dataset, num_train: int, folder: Path) -> Dataset:
    """The training part repeated to `num_train` rows, each with pixels of its own in a file as large as real data's."""
    folder.mkdir(parents=True, exist_ok=True)
    old = dataset.open_pixels()
    chosen = np.concatenate([np.resize(dataset.part("train"), num_train), dataset.part("val")])
    new = np.lib.format.open_memmap(folder / "pixels.npy", "w+", old.dtype, (len(chosen), *old.shape[1:]))
    for start in range(0, len(chosen), 1024):
        part = slice(start, start + 1024)
        new[part] = old[dataset.rows[chosen[part]]]
    new.flush()
    num = len(chosen)
    parts = {"train": np.arange(num_train), "val": np.arange(num_train, num), "test": np.arange(0)}
    return replace(
        dataset,
        pixel_file=folder / "pixels.npy",
        pixel_key=f"{dataset.pixel_key} x {num_train}",
        rows=np.arange(num),
        ids=np.array([f"{number:06}" for number in range(num)]),
        groups=dataset.groups[chosen],
        targets=dataset.targets[chosen],
        parts=parts,
    )


def untrained_teacher(backbone: str, dataset: Dataset, device: Device, *, image_size: int | None = None) -> Teacher:
    """A teacher of random weights: what it answers costs as much as what a trained one does."""
    config = RunConfig().override({"model.backbone": backbone}, source="benchmark").model
    model = build_model(config, num_labels=len(dataset.labels), in_channels=dataset.input_spec.channels, seed=0)
    model = device.move(model).eval().requires_grad_(False)
    size = image_size or dataset.input_spec.image_size
    description = {"model": {"backbone": backbone}}
    member = OwnModel(model, size, description, f"untrained {backbone}", dataset.input_spec)
    return Teacher((member,), dataset.input_spec)


def bank_of(
    teacher: Teacher, dataset: Dataset, config: RunConfig, device: Device, folder: Path, *, num_views: int, pixels: bool
) -> Bank:
    """The teacher's answers to the training part, with the views' pixels or without."""
    return open_or_build(
        BankSource(teacher, TASK.train_views(dataset, config), device, num_views),
        data_key=dataset.train_hash(),
        logits_shape=dataset.targets.shape[1:],
        folder=folder / ("with_pixels" if pixels else "logits_only"),
        pixel_budget_bytes=_UNLIMITED if pixels else 0,
    )


def synchronise(device: Device) -> None:
    """Wait until the device has done what it was told."""
    if device.on_gpu:
        torch.cuda.synchronize(device.torch_device)


def interleaved(
    ways: Mapping[str, Callable[[], float]], num_rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """What each way measured in each round; all run once before, and every other round goes backwards."""
    for run in ways.values() if warm_up else ():
        run()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            taken[name].append(ways[name]())
    return taken


def paired_ratio(above: list[float], below: list[float]) -> float:
    """Median over the rounds of one way's number over the other's, so that a slow minute strikes both."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def shown(value: object) -> str:
    """A cell of a table."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


@dataclass
class Report:
    """A benchmark's table and ratios, printed and perhaps saved.

    Attributes:
        name: of the file under `results`.
        rows: name of a column -> value; all rows have the same columns.
        ratios: what each is of, its value, its goal in words, and whether it was reached (None: no goal).
    """

    name: str
    arguments: argparse.Namespace
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """One more ratio, with the goal it is held against."""
        goal, reached = "none", None
        if at_least is not None:
            goal, reached = f"at least {at_least:g}", value >= at_least
        elif at_most is not None:
            goal, reached = f"at most {at_most:g}", value <= at_most
        self.ratios.append({"ratio": what, "value": value, "goal": goal, "reached": reached})

    def finish(self) -> None:
        """Print all; with --save write it too."""
        place = machine()
        print(f"{place['cpu']}, {place['cores']} cores, {place['gpu']}, torch {place['torch']}, {place['date']}")
        if self.arguments.quick:
            self.notes.append("--quick: toy sizes, the numbers mean nothing")
        for note in self.notes:
            print(note)
        print()
        cells = [[shown(value) for value in row.values()] for row in self.rows]
        for line in columns([list(self.rows[0]), *cells]):
            print(line)
        print()
        word = {None: "", True: ", reached", False: ", missed"}
        for one in self.ratios:
            print(f"ratio {one['ratio']}: {one['value']:.3f} (goal: {one['goal']}{word[one['reached']]})")
        if self.arguments.save:
            RESULTS.mkdir(exist_ok=True)
            about = {"machine": place, "arguments": {k: str(v) for k, v in vars(self.arguments).items()}}
            measured = {"notes": self.notes, "rows": self.rows, "ratios": self.ratios}
            write_json(RESULTS / f"{self.name}.json", {"benchmark": self.name, **about, **measured})
            print(f"saved in benchmarks/results/{self.name}.json")


def columns(cells: list[list[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]


def machine() -> dict[str, Any]:
    """What was measured on, with what, when."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "cores": available_cpus(),
        "load_1_min": load,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "timm", "numpy", "albumentations", "ray", "optuna")},
        "opencv": installed("opencv-python-headless"),
    }


def counter() -> Callable[[], int]:
    """0, 1, 2, ... at each call: the epoch a way is in."""
    numbers = itertools.count()
    return lambda: next(numbers)
