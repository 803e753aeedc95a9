"""The student: timm backbone, attention over its last feature map, mean over tokens, a small head. Teachers too."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlite.config import ModelConfig
from xlite.models.attention import AttentionBlock, MultiHeadSelfAttention, PerformerAttention
from xlite.models.backbones import create_backbone

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = 0.449, 0.226  # means of the three
_PRIOR_MARGIN = 1e-3


class Student(nn.Module):
    """images: (B, C, H, W), or (B, H, W) for one channel, uint8 0-255 -> logits (B, num_labels) float32.

    Float images in 0-255 are taken too. Normalisation is part of the model: ImageNet's per-channel mean and standard
    deviation for three channels, their means for any other number.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_labels: int,
        in_channels: int,
        generator: torch.Generator,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.num_labels, self.in_channels = config, num_labels, in_channels
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if in_channels == 3 else ((GREY_MEAN,), (GREY_STD,))
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.backbone = create_backbone(config, in_channels=in_channels, image_size=image_size)
        dim = self.backbone.num_features
        self.attention = _create_attention(config, dim, generator)
        self.head = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.Hardswish(), nn.Dropout(config.dropout), nn.Linear(dim // 2, num_labels)
        )

    def feature_map(self, images: Tensor) -> Tensor:
        """The backbone's last feature map: images as in `forward` -> (B, C, h, w)."""
        if images.ndim == 3:
            images = images[:, None]
        assert images.ndim == 4 and images.shape[1] == self.in_channels, tuple(images.shape)
        return self.backbone((images.float() - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.feature_map(images).flatten(2).transpose(1, 2)
        pooled = self.attention(tokens).mean(dim=1)
        return self.head(pooled).float()


def build_student(
    config: ModelConfig,
    *,
    num_labels: int,
    in_channels: int = 1,
    prior: Sequence[float] | None = None,
    seed: int,
    image_size: int | None = None,
) -> Student:
    """A student on the CPU, in training mode, its weights a pure function of the arguments.

    Args:
        prior: each label's prevalence in 0-1; the last bias becomes its log-odds (RetinaNet, arXiv 1708.02002,
            section 4.1), so that training starts at the base rates. None: zeros.
        image_size: px; when given, a backbone that cannot take it is refused now instead of in the first batch.

    Raises:
        InputError: as `create_backbone`.
    """
    with torch.random.fork_rng(devices=[]):
        # The CPU generator alone: torch.manual_seed would reseed every CUDA device as well.
        torch.default_generator.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        student = Student(
            config, num_labels=num_labels, in_channels=in_channels, generator=generator, image_size=image_size
        )
    last = student.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.zero_()
        if prior is not None:
            assert len(prior) == num_labels, (len(prior), num_labels)
            last.bias.copy_(torch.tensor(prior).clamp(_PRIOR_MARGIN, 1 - _PRIOR_MARGIN).logit())
    return student


def _create_attention(config: ModelConfig, dim: int, generator: torch.Generator) -> nn.Module:
    if config.attention == "none":
        return nn.Identity()
    heads = config.attention_heads
    if config.attention == "mhsa":
        return AttentionBlock(dim, MultiHeadSelfAttention(dim, num_heads=heads, dropout=config.dropout))
    return AttentionBlock(
        dim, PerformerAttention(dim, num_heads=heads, num_features=config.performer_features, generator=generator)
    )
