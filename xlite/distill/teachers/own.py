"""A teacher that `xlite teacher` trained: `.safetensors` with its `.json`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.distill.teachers.labels import LabelMatch, match_labels
from xlite.distill.teachers.resize import resize
from xlite.errors import InputError
from xlite.models.artifact import load_model
from xlite.models.build import call, check_input


@dataclass(frozen=True)
class OwnModel:
    """A frozen model in evaluation mode.

    Attributes:
        model: takes a batch from `Device.inputs` and returns logits (B, ..., K).
        image_size: the side it was trained at, px.
        description: the file's description of its model.
        key: the hash of its weights, and of its labels where these are not the data's.
        input_spec: of the views it is asked about.
        match: its labels among the data's; None: the same in the same order.
    """

    model: nn.Module
    image_size: int
    description: Mapping[str, Any]
    key: str
    input_spec: InputSpec
    match: LabelMatch | None = None

    @property
    def name(self) -> str:
        """The backbone."""
        return self.description["model"]["backbone"]

    @property
    def settings(self) -> dict[str, Any]:
        """The architecture, and the size that views are scaled to."""
        return {"model": self.description.get("model"), "image_size": self.image_size}

    @property
    def notes(self) -> tuple[str, ...]:
        """A line on labels that it does not know."""
        return self.match.notes(self.name) if self.match else ()

    @torch.inference_mode()
    def answer(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device
    ) -> np.ndarray:
        """Its logits for these views; `rows` do not matter."""
        images, beside = device.inputs(self.input_spec, pixels, auxiliary)
        with device.autocast():
            out = call(self.model, resize(images, self.image_size, self.input_spec), beside)
        logits = out.float().cpu().numpy()
        if np.isnan(logits).any():
            raise InputError(f"teacher {self.name}: its logits are not finite; it cannot be distilled from")
        return self.match.select(logits) if self.match else logits


def load_own(file: Path, dataset: Dataset, *, kind: str, device: Device, allow_other_split: bool) -> OwnModel:
    """Load a model for this data.

    Args:
        kind: of the data's targets.
        allow_other_split: accept a teacher that was trained on another split and may have seen images judged here.

    Raises:
        InputError: a file does not fit the data, or its weights are not finite.
    """
    input_spec, split_hash = dataset.input_spec, dataset.split_hash
    model, description = load_model(file)
    if description.get("target_kind", kind) != kind:
        raise InputError(f"{file}: this teacher is for {description['target_kind']} targets, the data is {kind}")
    if description.get("value") is None:
        description.pop("value", None)  # it was not finite
    labels = description["labels"]
    match = match_labels(file, labels, dataset.labels, partial=kind == "multilabel")
    if description["in_channels"] != input_spec.channels:
        raise InputError(
            f"{file}: this teacher takes {description['in_channels']} channel(s), the data has {input_spec.channels}"
        )
    if description.get("split_hash") != split_hash and not allow_other_split:
        raise InputError(
            f"{file}: trained on split {description.get('split_hash')}, this study uses {split_hash}; it may have "
            "seen images judged here. Train one on this split, or allow it with --allow-other-split"
        )
    try:
        check_input(model.config, input_spec)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if not model.config.has_backbone and description["image_size"] != input_spec.image_size:  # type: ignore[union-attr]
        raise InputError(
            f"{file}: this teacher takes lines of {description['image_size']} points, the data has "
            f"{input_spec.image_size}"
        )
    if not all(bool(values.isfinite().all()) for values in model.state_dict().values()):
        raise InputError(f"{file}: this teacher has weights that are not finite; its training failed, train it again")
    same = tuple(labels) == tuple(dataset.labels)
    key = str(description["weights_sha256"])
    if not same:
        key = hashlib.sha256(json.dumps([key, labels]).encode()).hexdigest()
    return OwnModel(
        device.move(model).eval().requires_grad_(False),
        int(description["image_size"]),
        description,
        key,
        input_spec,
        None if same else match,
    )
