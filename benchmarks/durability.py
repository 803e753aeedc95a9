"""What it costs to keep a trial on disk after each epoch: the share of its time, and how much of that is fsync.

    python benchmarks/durability.py

One trial as large as a default run's (the phantom set's 698 training and 150 validation images at 64 px), one thread.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from xlite.config import RunConfig
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.data.sources.nih import LABELS
from xlite.device import choose_device
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.train.resumable import epochs_of, train_resumable
from xlite.train.run import TrainingRun

NUM_TRAIN, NUM_VAL, PX = 698, 150, 64


def make_dataset(folder: Path) -> Dataset:
    """Noise with labels: time does not depend on what the pixels show."""
    rng, number = np.random.default_rng(0), NUM_TRAIN + 2 * NUM_VAL
    np.save(folder / "pixels.npy", rng.integers(0, 256, (number, PX, PX), dtype=np.uint8))
    targets = (rng.random((number, len(LABELS))) < 0.1).astype(np.float32)
    names = np.array([f"image{i}" for i in range(number)])
    edges = np.split(np.arange(number), [NUM_TRAIN, NUM_TRAIN + NUM_VAL])
    parts = dict(zip(("train", "val", "test"), edges, strict=True))
    spec = InputSpec("image", (PX, PX))
    return Dataset(
        folder / "pixels.npy", "noise", np.arange(number), names, names, targets, tuple(LABELS), parts, "s", spec
    )


def main() -> None:
    """Train one kept trial and say where its time went."""
    parser = argparse.ArgumentParser(description="Measure what keeping a trial costs.")
    parser.add_argument("--backbone", default="mobilenetv3_small_050")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    synced: list[float] = []
    fsync = os.fsync

    def timed(descriptor: int) -> None:
        started = time.perf_counter()
        fsync(descriptor)
        synced.append(time.perf_counter() - started)

    os.fsync = timed
    values = {"model.backbone": arguments.backbone, "data.image_size": PX, "train.epochs": arguments.epochs}
    config = RunConfig().override({**values, "train.threads": 1, "train.patience": 100}, source="benchmark")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        dataset = make_dataset(Path(place))
        run = TrainingRun(config, CHESTXRAY14, dataset, choose_device("fp32", kind="cpu"))
        epochs = train_resumable(run, folder=Path(place), stem="s", hyper_parameters={"a": 1})
        seconds = list(epochs_of(epochs))[-1].summary.seconds_by_kind
    total = sum(seconds.values())
    kept, waited = seconds["checkpoint"], sum(synced)
    print(
        f"{arguments.backbone}, {arguments.epochs} epochs: {total:.1f} s, of which keeping {kept:.2f} s "
        f"({kept / total:.1%}; {1e3 * kept / arguments.epochs:.0f} ms an epoch), of that {len(synced)} fsyncs "
        f"{waited:.2f} s ({waited / total:.1%})"
    )


if __name__ == "__main__":
    main()
