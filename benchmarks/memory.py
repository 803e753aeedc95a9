"""Whether memory stays from trial to trial: one process trains many tiny trials, as a reused worker does.

    python benchmarks/memory.py --trials 50

The trials go through backbones, attentions, losses and augmentations, each trained with events, checkpoint and best
weights written, and let go again as `tune.trainable` does. Printed after each: the resident set, of that what
is private to the process (maps of shared files come and go with the page cache), open files, threads, and on a GPU what
the allocator holds and what is in use in all. The last line compares the last trial with the fifth.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import psutil
import torch

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import choose_device, release_memory
from xlite.tasks import find_task
from xlite.train.resumable import train_resumable
from xlite.train.run import TrainingRun

BACKBONES = ("mobilenetv3_small_050", "lcnet_050", "mobilenetv3_small_075")
ATTENTIONS = ("none", "mhsa", "performer")
LOSSES = ("bce", "weighted_bce", "focal", "bce_focal")
AUGMENTATIONS = ("light", "medium", "strong")
FIRST = 5
"""The trial the last is compared with: by then every import and cache that a trial needs is there."""


def make_dataset(folder: Path, num_images: int, px: int) -> Dataset:
    """Random images with three labels, two thirds for training."""
    rng = np.random.default_rng(0)
    np.save(folder / "pixels.npy", rng.integers(0, 255, (num_images, px, px), dtype=np.uint8))
    numbers = np.arange(num_images)
    cut = num_images * 2 // 3
    targets = (rng.random((num_images, 3)) < 0.5).astype(np.float32)
    parts = {"train": numbers[:cut], "val": numbers[cut:], "test": numbers[:0]}
    return Dataset(
        folder / "pixels.npy", "bench", numbers, numbers.astype(str), numbers.astype(str), targets, ("a", "b", "c"),
        parts, "split", InputSpec("image", (px, px)),
    )  # fmt: skip


def config_of(number: int, arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a trial: no two in a row are alike."""
    choices = {
        "model.backbone": BACKBONES[number % 3],
        "model.attention": ATTENTIONS[number // 3 % 3],
        "loss.name": LOSSES[number % 4],
        "data.augmentation": AUGMENTATIONS[number // 2 % 3],
        "data.image_size": arguments.image_size,
        "optim.batch_size": (16, 32)[number % 2],
        "train.epochs": arguments.epochs,
        "train.seed": number,
    }
    return RunConfig().override({**choices, **({} if arguments.vary else ALIKE)}, source="benchmark")


ALIKE = {
    "model.backbone": BACKBONES[0], "model.attention": ATTENTIONS[1], "loss.name": LOSSES[0],
    "data.augmentation": AUGMENTATIONS[1], "optim.batch_size": 16,
}  # fmt: skip


def run_trial(number: int, dataset: Dataset, folder: Path, arguments: argparse.Namespace) -> None:
    """Train one configuration and let go of everything."""
    config, device = config_of(number, arguments), choose_device()
    task = find_task("chestxray14").resolve_targets("multilabel")
    shown = {"model.backbone": config.model.backbone}
    run = TrainingRun(config, task, dataset, device)
    for _ in train_resumable(run, folder=folder, stem="student", hyper_parameters=shown):
        pass


def measure() -> dict[str, float]:
    """What the process holds now."""
    process = psutil.Process()
    memory = process.memory_full_info()
    out = {
        "RSS MiB": memory.rss / 2**20,
        "private MiB": memory.uss / 2**20,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        out["CUDA reserved MiB"] = torch.cuda.memory_reserved() / 2**20
        out["GPU in use MiB"] = (total - free) / 2**20
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--alike", dest="vary", action="store_false", help="every trial has the same configuration")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset(folder, arguments.images, arguments.image_size)
        for number in range(arguments.trials):
            run_trial(number, dataset, folder / f"{number:05d}", arguments)
            release_memory()
            rows.append(measure())
            if number == 0:
                print("trial  " + "  ".join(f"{key:>12}" for key in rows[0]))
            if (number + 1) % 5 == 0 or number == 0:
                print(f"{number + 1:5}  " + "  ".join(f"{value:12.1f}" for value in rows[-1].values()), flush=True)
    if len(rows) > FIRST:
        first, last = rows[FIRST - 1], rows[-1]
        changes = (f"{key} {last[key] / first[key] - 1:+.1%}" if first[key] else key for key in first)
        print(f"after trial {len(rows)} against trial {FIRST}: {', '.join(changes)}")


if __name__ == "__main__":
    main()
