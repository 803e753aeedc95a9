"""The teacher: the mean of one or several frozen models, each with its own input size."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.distill.signals import Signals
from xlite.errors import InputError
from xlite.models.artifact import load_model
from xlite.models.build import call_with_features


@dataclass(frozen=True)
class Teacher:
    """Frozen models in evaluation mode.

    Attributes:
        models: each takes a batch from `Device.inputs` and returns logits (B, ..., L).
        image_sizes: the side each was trained at, px.
        descriptions: each file's description of its model.
        key: 16 hex digits over the weights.
        input_spec: of the views it is asked about.
    """

    models: tuple[nn.Module, ...]
    image_sizes: tuple[int, ...]
    descriptions: tuple[dict[str, Any], ...]
    key: str
    input_spec: InputSpec

    @property
    def num_features(self) -> int | None:
        """F of the first model, whose features are the teacher's; None if it gives none."""
        return int(self.models[0].num_features)  # type: ignore[arg-type]

    @torch.inference_mode()
    def signals(self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device) -> Signals:
        """Mean logits over the models, and the first one's features, for views (B, *shape of the pixel file).

        Args:
            rows: (B,) rows of the pixel file that these are views of.
        """
        images, beside = device.inputs(self.input_spec, pixels, auxiliary)
        total: Tensor | None = None
        features: Tensor | None = None
        for model, size in zip(self.models, self.image_sizes, strict=True):
            with device.autocast():
                logits, pooled = call_with_features(model, resize(images, size, self.input_spec), beside)
            total = logits.float() if total is None else total + logits.float()
            features = pooled.float() if features is None else features
        assert total is not None and features is not None
        if bool(total.isnan().any()):  # in a bank NaN would mean that the teacher says nothing
            raise InputError("the teacher gives logits that are not numbers; it cannot be distilled from")
        return Signals((total / len(self.models)).cpu().numpy(), features.cpu().numpy())


def resize(images: Tensor, size: int, spec: InputSpec) -> Tensor:
    """A uint8 batch from `Device.inputs` to side `size`; unchanged where it fits, as scan lines always do."""
    if spec.image_size == size:
        return images
    if spec.layout == "slices":
        planes = _scaled(images.permute(0, 1, 4, 2, 3).flatten(0, 1), size)
        return planes.unflatten(0, images.shape[:2]).permute(0, 1, 3, 4, 2)
    return _scaled(images, size) if spec.has_channel_axis else _scaled(images.unsqueeze(1), size).squeeze(1)


def _scaled(planes: Tensor, size: int) -> Tensor:
    """(B, C, S, S) to (B, C, size, size) uint8: bilinear with antialiasing."""
    scaled = F.interpolate(planes.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def load_teacher(
    files: Sequence[Path], dataset: Dataset, *, kind: str, device: Device, allow_other_split: bool = False
) -> Teacher:
    """Load one or several teacher files (`.safetensors` with its `.json`, as `xlite teacher` writes them).

    Args:
        kind: of the data's targets.
        allow_other_split: accept a teacher that was trained on another split and may have seen images judged here.

    Raises:
        InputError: a file does not fit the data, or its weights are not finite.
    """
    labels, input_spec, split_hash = dataset.labels, dataset.input_spec, dataset.split_hash
    models, sizes, descriptions = [], [], []
    digest = hashlib.sha256()
    for file in files:
        model, description = load_model(file)
        if description.get("target_kind", kind) != kind:
            raise InputError(f"{file}: this teacher is for {description['target_kind']} targets, the data is {kind}")
        if description.get("value") is None:
            description.pop("value", None)  # it was not finite
        if tuple(description["labels"]) != tuple(labels):
            raise InputError(
                f"{file}: this teacher knows {_abridged(description['labels'])}, the data has {_abridged(labels)}; "
                "train one with `xlite teacher`"
            )
        if description["in_channels"] != input_spec.channels:
            raise InputError(
                f"{file}: this teacher takes {description['in_channels']} channel(s), the data has "
                f"{input_spec.channels}"
            )
        if description.get("split_hash") != split_hash and not allow_other_split:
            raise InputError(
                f"{file}: trained on split {description.get('split_hash')}, this study uses {split_hash}; it may have "
                "seen images judged here. Train one on this split, or allow it with --allow-other-split"
            )
        if not model.config.has_backbone and description["image_size"] != input_spec.image_size:  # type: ignore[union-attr]
            raise InputError(
                f"{file}: this teacher takes lines of {description['image_size']} points, the data has "
                f"{input_spec.image_size}"
            )
        if not all(bool(values.isfinite().all()) for values in model.state_dict().values()):
            raise InputError(
                f"{file}: this teacher has weights that are not finite; its training failed, train it again"
            )
        models.append(device.move(model).eval().requires_grad_(False))
        sizes.append(int(description["image_size"]))
        descriptions.append(description)
        digest.update(str(description["weights_sha256"]).encode())
    return Teacher(tuple(models), tuple(sizes), tuple(descriptions), digest.hexdigest()[:16], input_spec)


def _abridged(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{len(labels)} labels ({shown}{', ...' if len(labels) > 3 else ''})"
