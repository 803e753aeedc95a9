"""How well copies of a picture are told from other pictures of the same kind, and what hashing them costs.

    python benchmarks/twins.py --images FOLDER --cost-images FOLDER --save     # both in NIH's layout, or any images

All pairs of two patients' radiographs, which are alike, show the false positives of the perceptual hash by Hamming
distance; made copies (JPEG, half size, brighter) show what it finds. "correlated" pairs also have cached inputs, at
64 px, that correlate by 0.95 as X-Lite asks. Cost is CPU time of building the pixel cache with and without hashes, in
turn, one thread. Without folders both are measured on phantoms.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from common import Report, interleaved, paired_ratio, parser

from xlite.data.cache import open_or_build
from xlite.data.decode import ImagePreprocess, read_picture
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.data.picture_hash import PictureHashes, hashes_of
from xlite.data.sources.nih import read_nih
from xlite.data.table import Item
from xlite.data.twins import ALIKE

DISTANCES = (0, 2, 4, 6, 8)
PREPROCESS = ImagePreprocess(64)
COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 95": lambda picture: jpeg(picture, 95),
    "JPEG 75": lambda picture: jpeg(picture, 75),
    "JPEG 50": lambda picture: jpeg(picture, 50),
    "half size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda picture: cv2.convertScaleAbs(picture, alpha=1.1, beta=8),
}


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def bits(pictures: list[np.ndarray]) -> np.ndarray:
    """(N, 64) bool of the perceptual hashes."""
    values = np.array([hashes_of(picture).perceptual for picture in pictures], dtype="<u8")
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).astype(bool)


def normalised(pictures: list[np.ndarray]) -> np.ndarray:
    """(N, M) float32 whose products are the correlations of the cached inputs."""
    rows = np.stack([PREPROCESS.from_array(picture).ravel() for picture in pictures]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def tell_apart(report: Report, folder: Path) -> None:
    """A row of the report for each distance."""
    table = read_nih(folder, allow_missing=False).table
    pictures = [read_picture(item.path, channels=1) for item in table.items]
    own, inputs = bits(pictures), normalised(pictures)
    one, other = np.triu_indices(len(table), 1)
    strangers = table.groups[one] != table.groups[other]
    one, other = one[strangers], other[strangers]
    as_numbers = own.astype(np.float32)
    distance = (as_numbers @ (1 - as_numbers).T + (1 - as_numbers) @ as_numbers.T)[one, other]
    alike = (inputs @ inputs.T)[one, other] >= ALIKE
    found = {name: [make(picture) for picture in pictures] for name, make in COPIES.items()}
    away = {name: (bits(copies) != own).sum(axis=1) for name, copies in found.items()}
    near = {name: (normalised(copies) * inputs).sum(axis=1) >= ALIKE for name, copies in found.items()}
    for limit in DISTANCES:
        row = {"distance up to": limit, "pairs": int((distance <= limit).sum())}
        row["correlated"] = int(((distance <= limit) & alike).sum())
        row |= {name: float(np.mean(away[name] <= limit)) for name in COPIES}
        row |= {f"{name}, correlated": float(np.mean((away[name] <= limit) & near[name])) for name in COPIES}
        report.rows.append(row)
    report.notes.append(
        f"{len(table):,} images of {len(np.unique(table.groups)):,} patients, {len(one):,} pairs of two patients; "
        "of copies, the share that is found"
    )
    report.ratio(
        "pairs of two patients with the same perceptual hash and correlated / million pairs",
        1e6 * report.rows[0]["correlated"] / len(one),
    )


def cost(report: Report, folder: Path, num_repeats: int) -> None:
    """The ratio of the cache's CPU time with hashes to that without."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    items = [Item((path,)) for path in files]

    class Unhashed(ImagePreprocess):
        def read_hashed(self, item: Item) -> tuple[np.ndarray, PictureHashes]:
            return self.read(item), PictureHashes(0, 0)

    def seconds(preprocess: ImagePreprocess) -> float:
        with tempfile.TemporaryDirectory() as place:
            began = time.process_time()
            ids = np.array([str(path) for path in files])
            open_or_build(items, ids, cache_dir=Path(place), preprocess=preprocess, num_threads=1)
            return time.process_time() - began

    taken = interleaved(
        {"hashed": lambda: seconds(PREPROCESS), "unhashed": lambda: seconds(Unhashed(**vars(PREPROCESS)))}, num_repeats
    )
    height, width = read_picture(files[0], channels=1).shape
    report.ratio(
        f"cache with hashes / without, {len(files)} images ({width} x {height} px)",
        paired_ratio(taken["hashed"], taken["unhashed"]),
        at_most=1.1,
    )


def main() -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument("--images", type=Path, help="folder in NIH's layout (default: 1,000 phantoms)")
    options.add_argument("--cost-images", type=Path, nargs="*", default=[], help="folders of PNG or JPEG")
    arguments = options.parse_args()
    cv2.setNumThreads(1)
    report = Report("twins", arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.images or phantoms(Path(place), arguments)
        tell_apart(report, folder)
        for images in arguments.cost_images or [folder]:
            cost(report, images, 2 if arguments.quick else arguments.repeats)
    arguments.images = arguments.images and arguments.images.name  # a result names no folder of the machine
    arguments.cost_images = [images.name for images in arguments.cost_images]
    report.finish()


def phantoms(place: Path, arguments: argparse.Namespace) -> Path:
    write_phantom(place / "raw", num_images=60 if arguments.quick else 1000, image_px=256)
    return place / "raw"


if __name__ == "__main__":
    main()
