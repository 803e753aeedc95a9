"""What augmented batches cost one core: this project's way against a DataLoader that decodes cached PNGs.

    python benchmarks/loading.py                         # 512 phantom radiographs at 224 px, "medium" augmentation
    python benchmarks/loading.py --augmentation strong

All ways give batches of 32 as torch tensors, single-threaded (`num_workers=0`, so that it is per core), and are judged
by CPU seconds, which other work on the machine disturbs less than wall seconds. The DataLoader augments in two ways:
with albumentations as users write it, its generator seeded once, and with this project's own function, an image at a
time. Held against the goal is the faster of the two. "unaugmented" shows what decoding alone takes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import (
    Report,
    bank_of,
    chest_config,
    chest_data,
    counter,
    interleaved,
    paired_ratio,
    parser,
    untrained_teacher,
)
from torch.utils.data import DataLoader

from xlite.config import Augmentation
from xlite.data.batches import ViewReader, draws
from xlite.data.dataset import Dataset
from xlite.data.views import augment
from xlite.device import choose_device

BATCH_SIZE, NUM_VIEWS, SEED = 32, 2, 42
Apply = Callable[[np.ndarray, int, int], np.ndarray]
"""(image, row, epoch) -> an augmented image."""


def as_users_write_it(preset: str) -> Apply:
    """The project's presets as one albumentations pipeline, seeded once for the run."""
    import albumentations as A

    edge: dict[str, Any] = {"border_mode": cv2.BORDER_CONSTANT}
    mild = A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5)
    presets = {
        "light": [A.Rotate(limit=5, p=0.5, **edge), mild],
        "medium": [A.HorizontalFlip(p=0.5), A.Rotate(limit=15, p=0.7, **edge), mild],
        "strong": [
            A.HorizontalFlip(p=0.5),
            A.Affine(scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), rotate=(-20, 20), p=0.8, **edge),
            A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
            A.CoarseDropout(
                num_holes_range=(1, 3), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.3
            ),
        ],
    }
    pipeline = A.Compose(presets[preset], seed=SEED)
    return lambda image, row, epoch: pipeline(image=image)["image"]


class Pngs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Preprocessed images as PNG files, decoded and augmented when asked for."""

    def __init__(self, files: list[Path], targets: np.ndarray, apply: Apply) -> None:
        self.files, self.targets, self.apply, self.epoch = files, targets, apply, 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(str(self.files[row]), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        return torch.from_numpy(self.apply(image, row, self.epoch)), torch.from_numpy(self.targets[row])


def write_pngs(dataset: Dataset, folder: Path) -> list[Path]:
    """The training part's pixels, one PNG each, as OpenCV writes them."""
    folder.mkdir()
    pixels = dataset.open_pixels()
    files = [folder / f"{row:06}.png" for row in dataset.rows[dataset.part("train")]]
    for file, row in zip(files, dataset.rows[dataset.part("train")], strict=True):
        cv2.imwrite(str(file), np.asarray(pixels[row]))
    return files


def timed(run: Callable[[], int], walls: list[float]) -> Callable[[], float]:
    """Images per CPU second of `run`, which gives how many there were; its wall seconds an image go to `walls`."""

    def measured() -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        num_images = run()
        spent = time.process_time() - cpu
        walls.append((time.perf_counter() - wall) / num_images)
        return num_images / spent

    return measured


def from_loader(files: list[Path], targets: np.ndarray, apply: Apply) -> Callable[[], int]:
    """An epoch of a DataLoader."""
    images = Pngs(files, targets, apply)
    loader = DataLoader(images, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=0)
    epoch = counter()

    def run() -> int:
        images.epoch = epoch()
        return sum(len(batch) for batch, _ in loader)

    return run


def from_pixels(dataset: Dataset, read: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[], int]:
    """An epoch of this project's batches."""
    targets = dataset.targets[dataset.part("train")]
    device, epoch = choose_device("fp32", kind="cpu"), counter()

    def run() -> int:
        num_images = 0
        for draw in draws(len(targets), epoch=epoch(), batch_size=BATCH_SIZE, num_views=NUM_VIEWS, seed=SEED):
            images, _ = device.inputs(dataset.input_spec, read(draw.positions, draw.views))
            torch.from_numpy(targets[draw.positions])
            num_images += len(images)
        return num_images

    return run


def ways_of(dataset: Dataset, preset: Augmentation, folder: Path) -> dict[str, Callable[[], int]]:
    """Every way to get an epoch's batches, by name."""
    train = dataset.part("train")
    files, targets = write_pngs(dataset, folder / "png"), dataset.targets[train]
    config = chest_config(
        "kd_cpu.py", data__image_size=dataset.input_spec.image_size, data__augmentation=preset, train__seed=SEED
    )
    device = choose_device("fp32", kind="cpu")
    teacher = untrained_teacher("mobilenetv3_small_050", dataset, device, image_size=32)
    bank = bank_of(teacher, dataset, config, device, folder, num_views=NUM_VIEWS, pixels=True)
    reader = ViewReader(dataset.open_pixels(), dataset.rows[train], preset, SEED)

    def seeded(image: np.ndarray, row: int, epoch: int) -> np.ndarray:
        return augment(image[None], np.array([row]), np.array([epoch]), preset=preset, seed=SEED)[0]

    def banked(positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        pixels, _ = bank.read(positions, views)
        assert pixels is not None
        return pixels

    return {
        "PNG, unaugmented": from_loader(files, targets, lambda image, row, epoch: image),
        "PNG, albumentations": from_loader(files, targets, as_users_write_it(preset)),
        "PNG, seeded as here": from_loader(files, targets, seeded),
        "cache, augmented": from_pixels(dataset, reader.read),
        "bank's pixels": from_pixels(dataset, banked),
    }


def main() -> None:
    options = parser(__doc__, repeats=11)
    options.add_argument("--augmentation", choices=("light", "medium", "strong"), default="medium")
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--num-images", type=int, default=732, help="phantoms; seven tenths of them are loaded")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.num_images, arguments.repeats = 80, 2
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    size = chest_config("kd_cpu.py", data__image_size=arguments.image_size)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dataset = chest_data(folder, size, num_images=arguments.num_images)
        walls: dict[str, list[float]] = {}
        ways = ways_of(dataset, arguments.augmentation, folder)
        judged = {name: timed(run, walls.setdefault(name, [])) for name, run in ways.items()}
        speeds = interleaved(judged, arguments.repeats)
    write(arguments, dataset, speeds, walls)


def write(
    arguments: argparse.Namespace, dataset: Dataset, speeds: dict[str, list[float]], walls: dict[str, list[float]]
) -> None:
    """The table of ways, and the ratios."""
    report = Report("loading", arguments)
    report.notes.append(
        f"{len(dataset.part('train'))} phantoms at {arguments.image_size} px, {arguments.augmentation} augmentation, "
        f"batch {BATCH_SIZE}, one thread, on the CPU"
    )
    fair = max(("PNG, albumentations", "PNG, seeded as here"), key=lambda name: statistics.median(speeds[name]))
    for name, taken in speeds.items():
        report.rows.append(
            {
                "way": name,
                "images per CPU s": statistics.median(taken),
                "CPU ms an image": 1e3 / statistics.median(taken),
                "wall ms an image": 1e3 * statistics.median(walls[name][1:]),
                f"over {fair}": paired_ratio(taken, speeds[fair]),
            }
        )
    report.ratio(
        f"cache, augmented / {fair} (the faster)", paired_ratio(speeds["cache, augmented"], speeds[fair]), at_least=3
    )
    for other in ("PNG, albumentations", "PNG, seeded as here"):
        if other != fair:
            report.ratio(f"cache, augmented / {other}", paired_ratio(speeds["cache, augmented"], speeds[other]))
    report.ratio(f"bank's pixels / {fair}", paired_ratio(speeds["bank's pixels"], speeds[fair]), at_least=3)
    report.finish()


if __name__ == "__main__":
    main()
