"""Students and teachers on a timm backbone: attention over its last feature map, mean over tokens, a small head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlite.config import ModelConfig
from xlite.device import no_autocast
from xlite.models.attention import AttentionBlock, MultiHeadSelfAttention, PerformerAttention
from xlite.models.backbones import create_backbone
from xlite.models.heads import create_head
from xlite.models.normalise import Normalisation, Normalise
from xlite.models.origins import Origins


class BackboneModel(nn.Module):
    """Normalisation, backbone and attention; subclasses add the head.

    Raises:
        InputError: as `create_backbone`.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_labels: int,
        in_channels: int,
        generator: torch.Generator,
        image_size: int | None = None,
        origins: Origins | None = None,
    ) -> None:
        super().__init__()
        self.config, self.num_labels, self.in_channels = config, num_labels, in_channels
        self.normalise = Normalise(in_channels, Normalisation.of(config))
        self.backbone = create_backbone(config, in_channels=in_channels, image_size=image_size, origins=origins)
        self.attention = create_attention(config, self.backbone.num_features, generator)
        self.add_head(self.backbone.num_features)

    def add_head(self, dim: int) -> None:
        """Create the layers after the attention; `dim` is the width of its tokens."""
        raise NotImplementedError


class Student(BackboneModel):
    """images: (B, C, H, W), or (B, H, W) for one channel, uint8 or float 0-255 -> logits (B, num_labels) float32."""

    def add_head(self, dim: int) -> None:
        self.head = nn.Sequential(
            nn.Linear(dim, dim // 2),
            nn.Hardswish(),
            nn.Dropout(self.config.dropout),
            create_head(self.config, dim // 2, self.num_labels),
        )

    def set_bias(self, values: Sequence[float]) -> None:
        """Set the initial class scores (num_labels,), e.g. log-priors; see `models.heads`."""
        self.head[-1].set_bias(values)  # type: ignore[operator]

    def feature_map(self, images: Tensor) -> Tensor:
        """The backbone's last feature map: images as in `forward` -> (B, C, h, w)."""
        if images.ndim == 3:
            images = images[:, None]
        assert images.ndim == 4 and images.shape[1] == self.in_channels, tuple(images.shape)
        return self.backbone(self.normalise(images))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.attention(self.feature_map(images).flatten(2).transpose(1, 2))
        # A bfloat16 has 8 significant bits: logits rounded to them tie, which moves the AUC of rare labels.
        with no_autocast(tokens.device):
            return self.head(tokens.mean(dim=1, dtype=torch.float32))


def create_attention(config: ModelConfig, dim: int, generator: torch.Generator) -> nn.Module:
    """The attention block that `config` names, over tokens (B, N, dim); "none" is the identity."""
    if config.attention == "none":
        return nn.Identity()
    heads = config.attention_heads
    if config.attention == "mhsa":
        return AttentionBlock(dim, MultiHeadSelfAttention(dim, num_heads=heads, dropout=config.dropout))
    return AttentionBlock(
        dim, PerformerAttention(dim, num_heads=heads, num_features=config.performer_features, generator=generator)
    )
