"""Packaged models on one CPU thread: fp32, half precision and 8-bit graphs beside PyTorch.

    python benchmarks/inference.py --save
    python benchmarks/inference.py --students mobilenetv3_small_100 "efficientnet_b0 mhsa" --repeats 10

Students of the search spaces with random weights at 224 px take turns, one image at a time; each run is timed after an
untimed one. 8 bits are per channel, ranges by MinMax, all layers but the last. Accuracy is not measured here: `xlite
export` does that for a trained model. `predict_folder.py` measures `xlite predict`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from common import Report, interleaved, paired_ratio, parser

from xlite.config import ModelConfig
from xlite.data.decode import ImagePreprocess
from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import draw_records
from xlite.data.preprocess_registry import described
from xlite.data.sources.nih import LABELS
from xlite.device import torch_threads
from xlite.export.half import half_weights
from xlite.export.judged import opened
from xlite.export.onnx_graph import write_onnx
from xlite.export.quantise import Recipe, activation_ranges, prepared, quantised
from xlite.models.build import build_model
from xlite.package.about import About
from xlite.package.manifest import MODEL, write_manifest
from xlite.package.predict import open_package

STUDENTS = {
    "mobilenetv3_small_100": 15.0,
    "efficientnet_b0 mhsa": 60.0,
    "mobilenetv3_small_050": None,
    "lcnet_050": None,
    "mobilenetv3_large_100": None,
    "tf_efficientnet_lite0": None,
    "tf_efficientnet_lite0 performer": None,
    "efficientnet_b0": None,
}
"""Backbone and attention -> the most ms on one thread that are the goal."""
WAYS = ("PyTorch", "fp32", "fp16", "int8")


def main() -> None:
    """Measure every student."""
    options = parser(__doc__, repeats=30)
    options.add_argument("--students", nargs="+", default=list(STUDENTS), metavar="'BACKBONE ATTENTION'")
    options.add_argument("--px", type=int, default=224)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.students, arguments.px, arguments.repeats = ["lcnet_050"], 32, 2
    report = Report("inference", arguments)
    with tempfile.TemporaryDirectory() as scratch, torch_threads(1):
        folder = Path(scratch)
        pictures = drawn(folder / "images")
        for name in arguments.students:
            measure_student(name, folder / "package", pictures, arguments.px, arguments.repeats, report)
    report.finish()


def measure_student(name: str, folder: Path, pictures: Path, px: int, repeats: int, report: Report) -> None:
    """One row: file sizes and ms of a student in each way."""
    model = write_package(name, folder, px)
    read = open_package(folder).preprocess.inputs
    pixels = np.stack([read(path)[0].pixels for path in sorted(pictures.iterdir())])
    base = prepared(folder / MODEL)
    ranges = activation_ranges(base, [{"pixels": pixels[k : k + 4]} for k in range(0, len(pixels), 4)], "MinMax")
    fp32 = onnx.load(folder / MODEL)
    graphs = {"fp32": fp32, "fp16": half_weights(fp32), "int8": quantised(base, ranges, Recipe(True, "MinMax"))}
    files = {way: graph.SerializeToString() for way, graph in graphs.items()}
    image = torch.from_numpy(pixels[:1])
    runs: dict[str, Callable[[], float]] = {"PyTorch": partial(timed, partial(model, image))}
    for way, file in files.items():
        runs[way] = partial(timed, partial(opened(file, 1).run, ["probabilities"], {"pixels": pixels[:1]}))
    with torch.inference_mode():
        taken = interleaved(runs, repeats)
    row: dict[str, object] = {"student": name, "parameters M": sum(one.numel() for one in model.parameters()) / 1e6}
    row |= {f"{way} MB": len(files[way]) / 1e6 for way in WAYS if way in files}
    row |= {f"{way} ms": statistics.median(taken[way]) for way in WAYS}
    row |= {f"{way} p95": sorted(taken[way])[int(0.95 * len(taken[way])) - 1] for way in WAYS}
    report.rows.append(row)
    report.ratio(f"{name}, ms of fp32", statistics.median(taken["fp32"]), at_most=STUDENTS.get(name))
    report.ratio(f"{name}, int8 file / fp32 file", len(files["int8"]) / len(files["fp32"]), at_most=0.3)
    report.ratio(f"{name}, PyTorch's ms / fp32's", paired_ratio(taken["PyTorch"], taken["fp32"]))
    report.ratio(f"{name}, fp32's ms / int8's", paired_ratio(taken["fp32"], taken["int8"]))


def timed(run: Callable[[], object]) -> float:
    """ms of a run, after one that brings its weights into the caches."""
    run()
    started = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - started)


def write_package(name: str, folder: Path, px: int) -> torch.nn.Module:
    """A student of random weights as a package; the model itself."""
    backbone, _, attention = name.partition(" ")
    config = ModelConfig(backbone=backbone, attention=attention or "none")
    model = build_model(config, num_labels=len(LABELS), in_channels=1, image_size=px, seed=0).eval()
    preprocess = ImagePreprocess(image_size=px)
    about = About(
        task="chestxray14",
        target_kind="multilabel",
        labels=tuple(LABELS),
        preprocess=described(preprocess),
        input=asdict(preprocess.input_spec),
        thresholds=dict.fromkeys(LABELS, 0.5),
        threshold_method="f1",
        calibration=None,
        num_models=1,
        precision="fp32",
        training_inputs={},
        versions={},
        promotion="0" * 16,
    )
    folder.mkdir(exist_ok=True)
    write_onnx([model], about, folder / MODEL)
    write_manifest(folder, about)
    return model


def drawn(folder: Path) -> Path:
    """Drawn radiographs as PNG files, to measure ranges of activations on."""
    folder.mkdir()
    for number, picture in enumerate(draw_records(16, 0)):
        cv2.imwrite(str(folder / f"{number:02}.png"), draw_chest(picture, seed=0, image_px=256))
    return folder


if __name__ == "__main__":
    main()
