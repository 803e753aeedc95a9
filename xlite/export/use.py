"""USE.md: the exact commands that use a package, and what its graph takes and returns."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xlite.export.facts import StudyFacts
from xlite.export.markdown import code_block, inert
from xlite.package.about import About
from xlite.storage.files import write_text

_GIVE: Mapping[str, tuple[str, str]] = {
    "image": (
        "IMAGES",
        "`IMAGES` are files or folders: PNG, JPEG, TIFF, BMP, WebP, GIF or DICOM, of any size. One row an image.",
    ),
    "slices": (
        "FOLDER",
        "`FOLDER` has RSNA's layout: slices in `train_images/STUDY/SERIES/INSTANCE.dcm`, and "
        "`train_label_coordinates.csv`, which says where each level is. One row a level.",
    ),
    "lines": ("SCANS", "`SCANS` are scans or folders of them: `.npz`, `.npy` or Nanonis `.sxm`. One row a line."),
}


def write_use(folder: Path, about: About, facts: StudyFacts) -> None:
    """Write USE.md into a package's folder; all commands are run there, and write beside it, not into it."""
    write_text(folder / "USE.md", use_text(about, facts))


def use_text(about: About, facts: StudyFacts) -> str:
    """The page, in Markdown."""
    what, explained = _GIVE[about.input_spec.layout]
    parts = [
        f"# How to use this model ({inert(about.task)})",
        "Run the commands in this folder. [MODEL_CARD.md](MODEL_CARD.md) says what the model is for.",
        "## Once",
        code_block("bash", "pip install -r requirements.txt", "python predict.py --self-test"),
        "The self-test predicts the inputs in `golden/` and compares. Python 3.11 or newer is needed, but neither "
        "PyTorch nor X-Lite.",
        *_own_class(about),
        "## Predict",
        code_block("bash", f"python predict.py {what} --out ../predictions.csv"),
        f"{explained} A name that ends in `.json` or `.parquet` gives that format (`.parquet` needs `pyarrow`). "
        "Files that cannot be read are listed and passed over; the exit code is then 3. Inputs unlike the training "
        "images are flagged.",
        _decisions(about),
        "## With X-Lite installed",
        code_block(
            "bash",
            f"xlite predict {what} --model . --out ../predictions.csv",
            f"xlite explain {what} --model . --out ../explained",
            "xlite evaluate --model . --data OTHER_DATA --out .. --cache-dir ../cache",
        ),
        code_block("python", "import xlite", *_PYTHON[about.input_spec.layout]),
        "## The graph itself",
        _graph(about),
        code_block(
            "python",
            "import onnxruntime",
            'session = onnxruntime.InferenceSession("model.onnx")',
            f"logits, probabilities = session.run(None, {_fed(about)})",
        ),
        "Preprocessing is not in the graph, normalisation is. `predict.py` has both; its parameters are in "
        "`package.json` and in the metadata of `model.onnx`.",
    ]
    return "\n\n".join(parts) + "\n"


_PYTHON: Mapping[str, tuple[str, ...]] = {
    "image": ('model = xlite.load(".")', 'model.predict("image.png")'),
    "slices": (
        "from xlite.data.table import Item",
        "",
        'model = xlite.load(".")',
        "# slices: the paths of a stack, in order; the crop's centre and half its side are in pixels; level: from 0",
        'model.predict(Item(slices, \'{"x": 160, "y": 210, "radius": 40}\'), auxiliary=(level,))',
    ),
    "lines": ('model = xlite.load(".")', 'model.predict("scan.npz")'),
}


def _own_class(about: About) -> list[str]:
    if "class" not in about.preprocess:
        return []
    module, _, name = str(about.preprocess["class"]).partition(":")
    return [
        f"Its inputs are made by the class {inert(name)} of the module {inert(module)}, which is neither part of "
        "X-Lite nor in this package: put that module beside `predict.py`, or install it."
    ]


def _decisions(about: About) -> str:
    if not about.exclusive:
        return (
            "A label is yes where its calibrated probability is at or above its threshold in `thresholds.json` "
            f"(chosen for {inert(about.threshold_method)})."
        )
    return "Probabilities of the classes sum to 1; the most probable class is the answer."


def _graph(about: About) -> str:
    spec = about.input_spec
    shape = ", ".join(map(str, ("N", *spec.shape)))
    takes = f"`pixels` ({shape}) {np.dtype(spec.dtype).name}"
    if spec.auxiliary:
        takes += f" and `auxiliary` (N, {len(spec.auxiliary)}) int64: {', '.join(map(inert, spec.auxiliary))}"
    lines = f"{spec.shape[0]}, " if spec.layout == "lines" else ""
    given = f"(N, {lines}{len(about.labels)}) float32, in the order {', '.join(map(inert, about.labels))}"
    models = f", the mean of {about.num_models} models" if about.num_models > 1 else ""
    return f"It takes {takes}. It returns `logits`{models}, and calibrated `probabilities`, both {given}."


def _fed(about: About) -> str:
    return '{"pixels": pixels, "auxiliary": auxiliary}' if about.input_spec.auxiliary else '{"pixels": pixels}'
