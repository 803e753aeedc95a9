"""How much the pixel cache costs: its build, per core, against a bare loop of imread + CLAHE + resize.

    python benchmarks/prepare.py --images FOLDER

The three ways take turns in every repeat, so that a busy machine disturbs them alike. CPU time is shown beside wall
time, which means little while others use the cores.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from xlite.data.cache import open_or_build
from xlite.data.decode import ImagePreprocess
from xlite.data.table import Item


def write_synthetic(folder: Path, num_images: int) -> None:
    """1024x1024 grey PNGs: smooth shapes and fine noise, which compress like chest X-rays (about 3.2 bits a pixel)."""
    rng = np.random.default_rng(0)
    for number in range(num_images):
        shapes = cv2.resize(
            rng.uniform(30, 220, (6, 6)).astype(np.float32), (1024, 1024), interpolation=cv2.INTER_CUBIC
        )
        image = shapes + rng.normal(0, 1.5, shapes.shape)
        cv2.imwrite(str(folder / f"{number:05}.png"), np.clip(image, 0, 255).astype(np.uint8))


def bare_loop(files: list[Path], size: int) -> None:
    clahe = cv2.createCLAHE(2.0, (8, 8))
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        cv2.resize(clahe.apply(image), (size, size), interpolation=cv2.INTER_AREA)


def cache_build(files: list[Path], size: int, num_threads: int) -> None:
    ids = np.array([f"{row:06}" for row in range(len(files))])
    with tempfile.TemporaryDirectory() as cache_dir:
        cache = open_or_build(
            [Item((file,)) for file in files],
            ids,
            cache_dir=Path(cache_dir),
            preprocess=ImagePreprocess(size),
            num_threads=num_threads,
        )
        assert cache.ok.all(), cache.failures


def measured(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of `run`."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def compare(files: list[Path], size: int, num_repeats: int) -> None:
    ways: dict[str, Callable[[], None]] = {
        "bare loop": lambda: bare_loop(files, size),
        "cache, 1 thread": lambda: cache_build(files, size, 1),
        "cache, 2 threads": lambda: cache_build(files, size, 2),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(num_repeats):
        for name, run in ways.items():
            times[name].append(measured(run))
    per_image = {
        name: [1000 * statistics.median(kind) / len(files) for kind in zip(*taken, strict=True)]
        for name, taken in times.items()
    }
    print(f"{len(files)} images to {size} px, medians of {num_repeats} repeats\n")
    print(f"{'':18}{'wall ms/image':>15}{'CPU ms/image':>15}")
    for name, (wall, cpu) in per_image.items():
        print(f"{name:18}{wall:15.2f}{cpu:15.2f}")
    bare, one, two = (per_image[name] for name in ways)
    print(
        f"\ncache (1 thread) / bare loop: wall {one[0] / bare[0]:.3f}, CPU {one[1] / bare[1]:.3f} (goal: at most 1.15)"
    )
    print(f"speed-up of 2 threads over 1: {one[0] / two[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of PNGs or JPEGs (default: synthetic 1024x1024 PNGs)")
    parser.add_argument("--num-images", type=int, default=100, help="the folder's files are repeated up to this many")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as synthetic:
        if options.images is None:
            write_synthetic(Path(synthetic), 25)
        folder = options.images or Path(synthetic)
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        if not found:
            parser.error(f"{folder}: no PNG or JPEG in it")
        files = [found[row % len(found)] for row in range(options.num_images)]
        compare(files, options.image_size, options.repeats)


if __name__ == "__main__":
    main()
