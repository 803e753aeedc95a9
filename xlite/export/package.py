"""A promoted model as a package that stands alone: model.onnx, golden/, predict.py, the card, package.json."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import xlite
from xlite.data.dataset import Dataset
from xlite.data.preprocess import ModelInput
from xlite.data.preprocess_registry import described
from xlite.data.seen_pictures import write_seen_pictures
from xlite.data.table import Item
from xlite.errors import InputError
from xlite.export.card import write_card
from xlite.export.equality import check_equal
from xlite.export.facts import StudyFacts
from xlite.export.golden import RawExample, has_phantom, own_examples, write_golden
from xlite.export.onnx_graph import OPSET, write_onnx
from xlite.export.use import write_use
from xlite.package.about import About
from xlite.package.manifest import MODEL, remove_package, write_manifest
from xlite.package.predict import open_package
from xlite.package.runtime import write_runtime
from xlite.package.unlike import TrainingInputs, raw_side
from xlite.predictor import Predictor, load
from xlite.storage.files import fingerprint, read_json_object
from xlite.storage.locks import locked

NUM_CHECKED = 32
"""Validation images on which the graph is compared with PyTorch."""
_NUM_MEASURED = 300


@dataclass(frozen=True)
class Examples:
    """The data that a package is made with: never its test part.

    Attributes:
        dataset: its validation images check the graph, its training images tell what is unlike them.
        items: raw inputs of the data set's examples, in its order.
    """

    dataset: Dataset
    items: Sequence[Item]

    def validation_inputs(self) -> list[ModelInput]:
        """Up to `NUM_CHECKED` of the validation part, as the pixel cache has them."""
        data = self.dataset
        positions = _spread(data.part("val"), NUM_CHECKED)
        pixels, auxiliary = data.open_pixels()[data.rows[positions]], data.auxiliary_of(positions)
        numbers = [()] * len(positions) if auxiliary is None else [tuple(row) for row in auxiliary.tolist()]
        return [ModelInput(one, own) for one, own in zip(pixels, numbers, strict=True)]

    def training_inputs(self) -> TrainingInputs:
        """Ranges of up to 300 training images."""
        data = self.dataset
        positions = _spread(data.part("train"), _NUM_MEASURED)
        sides = [side for k in positions if (side := raw_side(self.items[k].path)) is not None]
        return TrainingInputs.measured(
            data.open_pixels()[data.rows[positions]], sides, channels=data.input_spec.channels
        )


def write_package(folder: Path, examples: Examples, facts: StudyFacts, *, golden: str | None = None) -> list[str]:
    """Write or rewrite the package of the models in `folder`; package.json comes last, so that a part is no package.

    Args:
        folder: a promotion's, with its models, metrics.json and thresholds.json.
        golden: "phantom", "own" (copies of training images), or None: phantoms where there are any.

    Returns:
        Lines for a person.

    Raises:
        InputError: the models cannot be exported, or answer otherwise than in PyTorch; no drawn inputs for a
            preprocessing of one's own; another process works in `folder`.
    """
    try:
        with locked(folder, waiting=None):
            reference = load(folder, device="cpu")
            if golden == "phantom" and not has_phantom(reference.preprocess):
                raise InputError(
                    "--golden phantom: no images are drawn for a preprocessing of your own; use --golden own"
                )
            remove_package(folder)
            try:
                return _write(folder, reference, examples, facts, golden)
            except BaseException:
                remove_package(folder)
                raise
    except BlockingIOError:
        raise InputError(f"{folder}: another process promotes or packages there; wait for it") from None


def _write(folder: Path, reference: Predictor, examples: Examples, facts: StudyFacts, golden: str | None) -> list[str]:
    about = _about(folder, reference, examples.training_inputs(), facts)
    write_onnx(reference.models, about, folder / MODEL)
    packaged = open_package(folder / MODEL)
    difference = check_equal(reference, packaged, examples.validation_inputs())
    lines = [f"model.onnx answers as PyTorch does: probabilities differ by at most {difference:.1g}"]
    if golden == "own" or has_phantom(reference.preprocess):
        write_golden(folder, packaged, _own(examples, reference) if golden == "own" else None)
    else:
        lines.append("No golden/: no images are drawn for a preprocessing of your own; xlite package --golden own")
    write_seen_pictures(folder, examples.dataset)
    write_runtime(folder)
    write_use(folder, about, facts)
    lines += write_card(folder, about, facts)
    write_manifest(folder, about)
    return lines


def _own(examples: Examples, reference: Predictor) -> list[RawExample]:
    data = examples.dataset
    return own_examples(examples.items, data.auxiliary, reference.preprocess, data.part("train"))


def _about(folder: Path, reference: Predictor, inputs: TrainingInputs, facts: StudyFacts) -> About:
    metrics, decisions = (read_json_object(folder / name) for name in ("metrics.json", "thresholds.json"))
    description = read_json_object((folder / metrics["models"][0]).with_suffix(".json"))
    spec = replace(reference.preprocess.input_spec, auxiliary_max=reference.auxiliary_max)
    calibration = reference.calibration
    weights = [read_json_object((folder / name).with_suffix(".json"))["weights_sha256"] for name in metrics["models"]]
    return About(
        task=description["task"],
        target_kind=reference.target_spec.kind,
        labels=reference.labels,
        preprocess=described(reference.preprocess),
        input=asdict(spec),
        thresholds=dict(reference.thresholds),
        threshold_method=decisions["method"] if reference.thresholds else "",
        calibration=calibration.to_json() if calibration else None,
        num_models=len(reference.models),
        precision="fp32",
        training_inputs=inputs.to_json(),
        versions={
            "xlite": xlite.__version__,
            **{name: version(name) for name in ("torch", "timm", "onnx", "onnxruntime")},
            "opset": str(OPSET),
        },
        promotion=metrics.get("identity") or fingerprint(weights),  # the first versions recorded none
    )


def _spread(positions: np.ndarray, num: int) -> np.ndarray:
    """Up to `num` of the positions, evenly."""
    return positions[np.unique(np.linspace(0, len(positions) - 1, num).round().astype(int))]
