"""The slice-stack student: a shared backbone, learned weights over the slices, an embedding of the level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlite.device import no_autocast
from xlite.models.heads import create_head
from xlite.models.student import BackboneModel

_CENTRE_WIDTH = 0.25  # standard deviation of the first slice weights, in stack lengths
_LEVEL_STD = 0.02  # small relative to the features: a level alone says little


class SliceAggregator(nn.Module):
    """features: (B, T, D) -> (B, D), weighted by a softmax that starts as a Gaussian about the middle slice."""

    def __init__(self, num_slices: int) -> None:
        super().__init__()
        offsets = torch.arange(num_slices) - (num_slices - 1) / 2
        self.log_weights = nn.Parameter(-0.5 * (offsets / (_CENTRE_WIDTH * num_slices)) ** 2)

    @property
    def weights(self) -> Tensor:
        """(T,) > 0, summing to 1."""
        return self.log_weights.softmax(0)

    def forward(self, features: Tensor) -> Tensor:
        return torch.einsum("t,btd->bd", self.weights, features)


class SliceStudent(BackboneModel):
    """images: (B, T, S, S, C) uint8 or float 0-255, levels: (B, 1) int64 -> logits (B, num_labels) float32.

    T is `config.num_slices`, levels are from 0 to `config.num_levels` - 1. With `config.head` "coral" the logits are
    log-probabilities.
    """

    def add_head(self, dim: int) -> None:
        config = self.config
        self.aggregator = SliceAggregator(config.num_slices)
        self.level = nn.Embedding(config.num_levels, config.level_dim)
        nn.init.normal_(self.level.weight, std=_LEVEL_STD)
        self.classifier = nn.Sequential(
            nn.Linear(dim + config.level_dim, dim // 2), nn.Hardswish(), nn.Dropout(config.dropout)
        )
        self.head = create_head(config, dim // 2, self.num_labels)

    def feature_map(self, images: Tensor) -> Tensor:
        """The backbone's last feature maps: images as in `forward` -> (B * T, D, h, w), a stack's slices adjacent."""
        assert images.ndim == 5 and images.shape[1] == self.config.num_slices, tuple(images.shape)
        assert images.shape[-1] == self.in_channels, tuple(images.shape)
        slices = images.flatten(0, 1).permute(0, 3, 1, 2)
        return self.backbone(self.normalise(slices))

    def forward(self, images: Tensor, levels: Tensor) -> Tensor:
        tokens = self.attention(self.feature_map(images).flatten(2).transpose(1, 2))
        with no_autocast(tokens.device):
            vectors = tokens.mean(dim=1, dtype=torch.float32).unflatten(0, (-1, self.config.num_slices))
            joined = torch.cat([self.aggregator(vectors), self.level(levels[:, 0])], dim=1)
            return self.head(self.classifier(joined))

    def set_bias(self, values: Sequence[float]) -> None:
        """Set the initial class scores (num_labels,), e.g. log-priors."""
        self.head.set_bias(values)
