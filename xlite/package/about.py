"""What a package says of its model: labels, preprocessing, decisions. Stored in model.onnx and in package.json."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import Preprocess
from xlite.data.preprocess_registry import preprocess_from
from xlite.errors import InputError

FORMAT = 1
_PREFIX = "xlite_"
_DIGEST = "sha256"


@dataclass(frozen=True)
class About:
    """A packaged model, told apart from its weights. All values are JSON's.

    The ONNX graph takes "pixels" (N, *input shape) as preprocessing gives them and, if there is any, "auxiliary" (N, E)
    int64. It returns "logits" (N, ..., L) float32 of all models' mean, and "probabilities", calibrated, of that shape.

    Attributes:
        task: its name; target_kind: "multilabel", "multiclass" or "ordinal".
        labels: L names, in the order of the outputs.
        preprocess: of `preprocess_registry.described`, every parameter.
        input: of `dataclasses.asdict` of the input spec, with `auxiliary_max`.
        thresholds: of calibrated probabilities, by label; {} of classes, of which the most probable one counts.
        threshold_method: "f1", "youden", "sensitivity=0.9", ...; "" of classes.
        calibration: of `Calibration.to_json`, already in the graph; None: probabilities are as the model gives them.
        num_models: whose logits are averaged in the graph.
        precision: "fp32", "fp16" or "int8".
        training_inputs: ranges of the training images, to tell inputs that are unlike them; {} if not known.
        versions: of X-Lite, PyTorch, ONNX and its opset, by name.
        promotion: the promotion's identity, 16 hex digits.
    """

    task: str
    target_kind: str
    labels: tuple[str, ...]
    preprocess: Mapping[str, Any]
    input: Mapping[str, Any]
    thresholds: Mapping[str, float]
    threshold_method: str
    calibration: Mapping[str, Any] | None
    num_models: int
    precision: str
    training_inputs: Mapping[str, Any]
    versions: Mapping[str, str]
    promotion: str

    @property
    def exclusive(self) -> bool:
        """Whether labels are classes, whose probabilities sum to 1."""
        return self.target_kind != "multilabel"

    @property
    def input_spec(self) -> InputSpec:
        """Of the graph's input, with the largest auxiliary integers in the training data."""
        return InputSpec.from_json(self.input)

    def preprocessing(self, *, source: str) -> Preprocess:
        """From a raw file to the graph's input. Raises InputError, which names `source`, as `preprocess_from` does."""
        return preprocess_from(self.preprocess, source=source)

    def to_metadata(self) -> dict[str, str]:
        """ONNX metadata: each field as JSON under "xlite_<field>", the format, and a SHA-256 over all of them."""
        values = {"format": FORMAT, **asdict(self)}
        texts = {name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in values.items()}
        return {_PREFIX + name: text for name, text in {**texts, _DIGEST: _digest(texts)}.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], *, source: str) -> "About":
        """The inverse of `to_metadata`.

        Args:
            source: the file's name, for errors.

        Raises:
            InputError: not a model of X-Lite, a newer format, or a field that was changed.
        """
        texts = {name.removeprefix(_PREFIX): text for name, text in metadata.items() if name.startswith(_PREFIX)}
        digest = texts.pop(_DIGEST, None)
        if digest is None or "format" not in texts:
            raise InputError(f"{source}: not a packaged model of X-Lite; give the folder promoted/ or its model.onnx")
        if texts["format"] != str(FORMAT):
            raise InputError(f"{source}: package format {texts['format']}, but this version reads format {FORMAT}")
        names = {field.name for field in fields(cls)}
        if digest != _digest(texts) or texts.keys() != names | {"format"}:
            raise InputError(f"{source}: its metadata were changed after the export; package the model again")
        values = {name: json.loads(texts[name]) for name in names}
        return cls(**{**values, "labels": tuple(values["labels"])})


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(texts.items()), ensure_ascii=False).encode()).hexdigest()
