"""Predictions of a saved model for raw files, with preprocessing, calibration and thresholds saved beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xlite.data.preprocess import ModelInput, Preprocess
from xlite.data.preprocess_registry import preprocess_from
from xlite.device import Device, choose_device
from xlite.errors import InputError
from xlite.metrics.calibration import Calibration
from xlite.models.artifact import load_model
from xlite.package.sources import Answer, Source, batch_arrays, model_inputs, named, rows_of
from xlite.storage.files import read_json_object
from xlite.tasks.target_spec import TARGET_SPECS, TargetSpec
from xlite.train.inference import batch_logits, evaluation_batches


@dataclass(frozen=True)
class Predictor:
    """A loaded model, or an ensemble; see `load`.

    Attributes:
        models: one, or the members of an ensemble, whose logits are averaged.
        labels: in the order of the models' outputs.
        thresholds: of the labels; {} for classes (the most probable one counts) and for models not promoted.
        preprocess: from a raw file to a model's input.
        target_spec: turns logits into probabilities.
        device: where the models are.
        calibration: of the probabilities; None, as of models not promoted, leaves them as the model gives them.
        auxiliary_max: the largest auxiliary integers in its training data; () if not known.
    """

    models: tuple[nn.Module, ...]
    labels: tuple[str, ...]
    thresholds: Mapping[str, float]
    preprocess: Preprocess
    target_spec: TargetSpec
    device: Device
    auxiliary_max: tuple[int, ...] = ()
    calibration: Calibration | None = None

    def predict(self, source: Source, auxiliary: Sequence[int] = ()) -> Answer:
        """The probability of each label; for a scan, a list with one such dictionary a line.

        Args:
            source: the path of an image (PNG, JPEG, TIFF, BMP, DICOM) or a scan (.npz, .npy, .sxm); an image as an
                array, see `ImagePreprocess.from_array`; an `Item` of the data set; for slices and scan lines also a
                preprocessed array.
            auxiliary: the integers that go with an item or array, e.g. (level,) of slices, (number of real lines,)
                of an array of scan lines.

        Raises:
            InputError: the file cannot be read, or the source does not fit this model.
        """
        return self.predict_batch([source], [auxiliary])[0]

    def predict_batch(
        self, sources: Sequence[Source], auxiliary: Sequence[Sequence[int]] | None = None
    ) -> list[Answer]:
        """`predict` for several sources, in batches."""
        given = zip(sources, auxiliary or [()] * len(sources), strict=True)
        inputs = [model_inputs(self.preprocess, *pair, self.auxiliary_max) for pair in given]
        answers = self.answers([one for some in inputs for one in some])
        return [named(self.labels, rows) for rows in rows_of(inputs, answers)]

    @torch.inference_mode()
    def answers(self, inputs: Sequence[ModelInput]) -> np.ndarray:
        """(N, ..., L) calibrated probabilities of N inputs."""
        spec = self.preprocess.input_spec
        logits = []
        for chosen in evaluation_batches(len(inputs), spec, self.device):
            batch = self.device.inputs(spec, *batch_arrays(spec, inputs[chosen]))
            told = [batch_logits(model, batch, device=self.device).cpu().numpy() for model in self.models]
            logits.append(np.mean(told, axis=0))
        if not logits:
            return np.empty((0, len(self.labels)))
        answers = self.target_spec.probabilities(np.concatenate(logits))
        return self.calibration.apply(answers) if self.calibration else answers


def load(path: str | Path, *, target_spec: TargetSpec | None = None, device: str | None = None) -> Predictor:
    """Load a saved model to predict from raw files, in float32, whatever precision it was trained with.

    Args:
        path: a study's `promoted/`; the folder of a trial or a teacher; or one .safetensors file.
        target_spec: for kinds of targets that are not in `xlite.tasks.target_spec.TARGET_SPECS`.
        device: "cpu" or "cuda"; default: a GPU if there is one.

    Raises:
        InputError: no model, several that differ, a damaged file, thresholds of other models, or an unknown
            preprocessing or kind of targets.
    """
    path = Path(path).expanduser()
    files, decisions = _files_of(path)
    loaded = [load_model(file) for file in files]
    first = loaded[0][1]
    for file, (_, description) in zip(files, loaded, strict=True):
        if any(description.get(key) != first.get(key) for key in ("labels", "preprocess", "target_kind")):
            raise InputError(f"{file}: labels or preprocessing differ from those of {files[0].name}; promote again")
    weights = {file.name: description["weights_sha256"] for file, (_, description) in zip(files, loaded, strict=True)}
    if decisions.get("weights", weights) != weights:
        raise InputError(f"{path / 'thresholds.json'}: it is of other weights than those beside it; promote again")
    kind = first.get("target_kind")
    target_spec = target_spec or TARGET_SPECS.get(str(kind))
    if target_spec is None:
        raise InputError(f"{files[0]}: {kind} targets are not of this library; give their target_spec=")
    if not isinstance(first.get("preprocess"), Mapping):
        raise InputError(f"{files[0]}: it does not say how its inputs were made; train or promote it again")
    chosen = choose_device("fp32", kind=device)
    highest = tuple(first.get("auxiliary_max", ()))
    models = tuple(chosen.move(model).eval() for model, _ in loaded)
    preprocess = preprocess_from(first["preprocess"], source=str(files[0]))
    labels, thresholds = tuple(first["labels"]), decisions.get("thresholds", {})
    calibration = _calibration(decisions, labels, path)
    return Predictor(models, labels, thresholds, preprocess, target_spec, chosen, highest, calibration)


def _calibration(decisions: Mapping[str, Any], labels: tuple[str, ...], path: Path) -> Calibration | None:
    """What thresholds.json says; packages of earlier versions have none."""
    if (stored := decisions.get("calibration")) is None:
        return None
    try:
        calibration = Calibration.from_json(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path / 'thresholds.json'}: its calibration cannot be read ({error!r}); promote again"
        ) from None
    if calibration.labels != labels:
        raise InputError(f"{path / 'thresholds.json'}: its calibration is of other labels; promote again")
    return calibration


def _files_of(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """The weights' files, and what thresholds.json holds."""
    if path.is_dir() and (path / "metrics.json").exists():
        names = read_json_object(path / "metrics.json").get("models")
        if not isinstance(names, list) or not names:
            raise InputError(f"{path / 'metrics.json'}: it names no models; promote again")
        return [path / name for name in names], read_json_object(path / "thresholds.json")
    if not path.is_dir():
        return [path], {}
    files = sorted(file for file in path.glob("[!.]*.safetensors") if file.with_suffix(".json").exists())
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{path}: one model is needed, there is {found}; give a .safetensors file or promoted/")
    return files, {}
