"""A model on disk: `<stem>.safetensors` and `<stem>.json`, tied by a hash. Checkpoint, teacher, promoted student."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models.build import build_model
from xlite.models.normalise import Normalisation, Normalise
from xlite.storage.files import atomic_write, double_buffered_write, read_json, spares_of, write_json
from xlite.storage.tensors import tensor_bytes, write_tensors

FORMAT = 1
_MOST = {"in_channels": 64, "image_size": 16_384}
_REQUIRED: dict[str, type] = {"labels": list, "model": dict, "in_channels": int, "image_size": int}


def state_copy(module: nn.Module) -> dict[str, Tensor]:
    """The module's state on the CPU, as copies that later training does not change."""
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in module.state_dict().items()}


def save_artifact(
    folder: Path,
    stem: str,
    model_state: Mapping[str, Tensor],
    description: Mapping[str, Any],
    *,
    repeatedly: bool = False,
) -> None:
    """Write weights, then description, each atomically; `load_artifact` refuses the two if a crash came between.

    Args:
        repeatedly: faster if there are weights already, but leaves a spare file, see `remove_spares`.
        description: JSON values, with at least `labels` (names), `model` (a ModelConfig dump), `in_channels` and
            `image_size`; `normalise` unless it is ImageNet's; `format` and `weights_sha256` are added.
    """
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(description.get(key), kind)]
    assert not wrong, f"description lacks {wrong}"
    folder.mkdir(parents=True, exist_ok=True)
    replace = double_buffered_write if repeatedly else atomic_write
    with replace(folder / f"{stem}.safetensors") as temporary:
        write_tensors(temporary, tensor_bytes(model_state))
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(folder / f"{stem}.json", {"format": FORMAT, **description, "weights_sha256": digest})


def remove_spares(folder: Path, stem: str) -> None:
    """Remove the spare files of `save_artifact` with `repeatedly`, after the last save."""
    for file in spares_of(folder / f"{stem}.safetensors"):
        file.unlink(missing_ok=True)


def load_artifact(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights (on the CPU) and description; `path` is either file.

    Raises:
        InputError: a file is missing, truncated or invalid, or the two do not belong together.
    """
    if path.suffix not in {".safetensors", ".json"}:
        raise InputError(f"{path}: not a model; give its .safetensors or .json file")
    description = _read_description(path.with_suffix(".json"))
    weights_path = path.with_suffix(".safetensors")
    try:
        weights = weights_path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{weights_path}: no such file, though {path.stem}.json is there; restore it") from None
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise InputError(
            f"{weights_path}: damaged, or not the weights that {path.stem}.json describes; restore both or save again"
        )
    try:
        return safetensors.torch.load(weights), description
    except Exception as error:  # an arbitrary header raises SafetensorError, KeyError, ValueError ...
        raise InputError(f"{weights_path}: not a safetensors file ({error!r})") from None


def load_model(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a saved model exactly, in evaluation mode on the CPU; nothing is downloaded.

    Raises:
        InputError: as `load_artifact`, or the description does not fit the weights.
    """
    state, description = load_artifact(path)
    config = ModelConfig.parse(description["model"], source=f"{path}: model")
    start = config.model_copy(update={"pretrained": False, "weights": None})
    model = build_model(
        start,
        num_labels=len(description["labels"]),
        in_channels=description["in_channels"],
        image_size=None if config.has_backbone else description["image_size"],
        seed=0,
    )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the weights do not fit the model it describes ({problem})") from None
    model.config = config  # type: ignore[assignment]
    if "normalise" in description:
        model.normalise = _normalise(path, description)
    return model.eval(), description


def _normalise(path: Path, description: Mapping[str, Any]) -> Normalise:
    """As in training; a description without it is of a model that was trained with ImageNet's."""
    try:
        by = Normalisation.from_json(description["normalise"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: `normalise` is not a normalisation ({error!r}); save the model again") from None
    return Normalise(description["in_channels"], by)


def _read_description(path: Path) -> dict[str, Any]:
    description = read_json(path)
    if not isinstance(description, dict) or "format" not in description:
        raise InputError(f"{path}: not a model description (it has no `format`)")
    if description["format"] != FORMAT:
        raise InputError(f"{path}: format {description['format']!r}, but this version reads format {FORMAT}")
    for key, kind in {**_REQUIRED, "weights_sha256": str}.items():
        if not isinstance(description.get(key), kind):
            raise InputError(f"{path}: `{key}` is missing or not a {kind.__name__}; save the model again")
    labels = description["labels"]
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise InputError(f"{path}: `labels` must be different names, at least one; save the model again")
    for key, most in _MOST.items():
        if isinstance(description[key], bool) or not 1 <= description[key] <= most:
            raise InputError(f"{path}: `{key}` is {description[key]}, not from 1 to {most}; save the model again")
    value = description.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"{path}: `value` is {str(value)[:60]!r}, not a number; save the model again")
    return description
