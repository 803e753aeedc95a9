"""Predictions of a folder against their parts: ONNX Runtime on decoded arrays, and decoding alone.

    python benchmarks/predict_folder.py --images FOLDER --save       # e.g. nih_mini; without, phantoms of 256 px

A package of an untrained student, 14 labels, 224 px. "folder" is what `xlite predict` does once it is loaded: finds
files, decodes, tells unlike inputs, runs the graph, writes a CSV, in --threads threads. "graph" runs as many batches,
"decoding" reads the same files, in as many threads. The first answer is that of a process of its own, from its start.
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from common import Report, interleaved, paired_ratio, parser

from xlite.config import ModelConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.phantom.chest_dataset import write_phantom
from xlite.data.preprocess_registry import described
from xlite.export.onnx_graph import write_onnx
from xlite.models.build import build_model
from xlite.package.about import About
from xlite.package.find import Search
from xlite.package.manifest import write_manifest
from xlite.package.predict import PackagePredictor, open_package
from xlite.package.stream import Prediction, batch_size, predictions
from xlite.package.unlike import TrainingInputs, raw_side
from xlite.package.write import rows_of_prediction, writing


def write_package(folder: Path, backbone: str, image_size: int, images: list[Path]) -> None:
    """A package of an untrained student, with what is unlike the first images."""
    preprocess = ImagePreprocess(image_size)
    inputs = np.stack([preprocess.inputs(path)[0].pixels for path in images[:50]])
    known = TrainingInputs.measured(inputs, [raw_side(path) or 1 for path in images[:50]])
    labels = tuple(f"label_{number}" for number in range(14))
    about = About(
        *("benchmark", "multilabel", labels, described(preprocess), asdict(preprocess.input_spec)),
        *(dict.fromkeys(labels, 0.5), "f1", None, 1, "fp32", known.to_json(), {}, "0" * 16),
    )
    model = build_model(ModelConfig(backbone=backbone), num_labels=14, image_size=image_size, seed=0).eval()
    write_onnx([model], about, folder / "model.onnx")
    write_manifest(folder, about)


def ways_of(predictor: PackagePredictor, images: list[Path], folder: Path, threads: int):
    """What takes how long, seconds an image."""
    size = batch_size(predictor)
    pixels = [predictor.inputs(path)[0].pixels for path in images[:size]]
    batch = np.stack([pixels[number % len(pixels)] for number in range(size)])
    num_batches = -(-len(images) // size)

    def in_threads(work, items) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items):
                pass
        return time.perf_counter() - started

    def whole() -> float:
        started = time.perf_counter()
        found = Search([images[0].parent], predictor.about.input_spec).found()
        with writing(folder / "out.csv", "csv", predictor.about) as write:
            for outcome in predictions(predictor, found, threads=threads):
                assert isinstance(outcome, Prediction), outcome
                for row in rows_of_prediction(predictor.about, outcome):
                    write(row)
        return (time.perf_counter() - started) / len(images)

    graph = lambda _: predictor.session.run(["probabilities"], {"pixels": batch})  # noqa: E731
    return {
        "graph": lambda: in_threads(graph, range(num_batches)) / (num_batches * size),
        "decoding": lambda: in_threads(predictor.inputs, images) / len(images),
        "folder": whole,
    }


def first_answer_s(package: Path, image: Path) -> float:
    started = time.perf_counter()
    words = [sys.executable, "-m", "xlite", "predict", str(image), "--model", str(package), "--threads", "1"]
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--images", type=Path, help="a folder of pictures, without folders in it")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--backbones", nargs="+", default=["mobilenetv3_small_100", "tf_efficientnet_lite0"])
    arguments = options.parse_args()
    report = Report("predict_folder", arguments)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        if arguments.images is None:
            write_phantom(home / "raw", num_images=20 if arguments.quick else 200, image_px=256)
        raw = arguments.images or next((home / "raw").rglob("*.png")).parent
        images = sorted(raw.glob("*.png"))
        for backbone in arguments.backbones[: 1 if arguments.quick else None]:
            package = home / backbone
            package.mkdir()
            write_package(package, backbone, 32 if arguments.quick else 224, images)
            predictor = open_package(package, threads=1)
            taken = interleaved(ways_of(predictor, images, home, arguments.threads), arguments.repeats)
            parts = [a + b for a, b in zip(taken["graph"], taken["decoding"], strict=True)]
            first = min(first_answer_s(package, images[0]) for _ in range(arguments.repeats))
            medians = {f"{name}, ms": float(np.median(values) * 1e3) for name, values in taken.items()}
            report.rows.append({"backbone": backbone, **medians, "first answer, s": first})
            report.ratio(
                f"{backbone}, rate of a folder over its parts", paired_ratio(parts, taken["folder"]), at_least=0.9
            )
            report.ratio(f"{backbone}, first answer in seconds", first, at_most=1.5)
        report.finish()


if __name__ == "__main__":
    main()
