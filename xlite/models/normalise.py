"""The normalisation of images that is part of every model with a backbone: its weights' own, else ImageNet's."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from xlite.config import ModelConfig


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of red, green and blue, for values from 0 to 1."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @classmethod
    def of(cls, config: ModelConfig) -> "Normalisation":
        """What a model is trained with: of its backbone's published weights if it starts from weights, else ImageNet's.

        A file of one's own is taken to be trained with the images that the published weights were trained with.
        """
        published = timm.get_pretrained_cfg(config.backbone)
        if published is None or not (config.pretrained or config.weights):
            return cls()
        return cls(tuple(published.mean), tuple(published.std))

    @classmethod
    def from_json(cls, values: Any) -> "Normalisation":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        mean, std = (tuple(map(float, values[name])) for name in ("mean", "std"))
        if not len(mean) == len(std) == 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise ValueError("mean and std must be three numbers each, those of std above 0")
        return cls(mean, std)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def describe_normalisation(config: ModelConfig) -> dict[str, Any]:
    """The entry `normalise` of a model's description; empty where it is ImageNet's, as in models saved before."""
    by = Normalisation.of(config)
    return {"normalise": by.to_json()} if config.has_backbone and by != Normalisation() else {}


class Normalise(nn.Module):
    """images: (B, C, H, W) in 0-255 -> float32, less the channels' mean and divided by their standard deviation.

    The means of the three channels for any other number than three.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, in_channels: int, by: Normalisation) -> None:
        super().__init__()
        for name, values in (("mean", by.mean), ("std", by.std)):
            channels = values if in_channels == 3 else (round(sum(values) / 3, 6),)
            self.register_buffer(name, 255 * torch.tensor(channels).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std
