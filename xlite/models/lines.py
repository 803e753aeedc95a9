"""The scan-line model: a transformer with one token per line and class logits for each line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlite.config import ModelConfig
from xlite.device import no_autocast
from xlite.errors import InputError
from xlite.models.attention import MultiHeadSelfAttention
from xlite.models.heads import create_head

_MIN_RELATIVE_STD = 1e-5  # of the mean: a smaller standard deviation is rounding error
_TINY = 1e-30


class LineBlock(nn.Module):
    """Pre-norm encoder block: attention between lines, then a feed-forward layer. x: (B, H, C) float -> (B, H, C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadSelfAttention(width, num_heads=config.attention_heads, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.ffn_width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.ffn_width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.drop(self.attention(self.attention_norm(x), mask))
        return x + self.feed_forward(x)


class ScanLineEncoder(nn.Module):
    """images: (B, H, P) or (B, C, H, P) float or half -> logits (B, H, num_labels) float32, for any H.

    `num_lines` (B, 1) int64 is how many of an example's H lines are real, at least 1; the rest is padding at the end,
    never attended to, with logits 0. None: no padding. P is `image_size`.

    With `config.normalise_lines` each line (of each channel) is standardised to mean 0 and standard deviation 1, else
    the real lines of the window together; with `config.causal`, each line together with those before it.
    `config.attention` "none" and "mhsa" are both softmax attention: without it lines would not interact.

    Raises:
        InputError: `config.attention` is "performer", whose sums over all lines take no mask.
    """

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
        assert image_size is not None, "image_size, the number of points per line, is needed"
        if config.attention == "performer":
            raise InputError(
                "model.attention=performer: scan lines need attention masks, which it does not support; use mhsa"
            )
        self.config, self.num_labels, self.in_channels, self.points = config, num_labels, in_channels, image_size
        self.embed = nn.Linear(in_channels * image_size, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(LineBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = create_head(config, config.width, num_labels)

    def forward(self, images: Tensor, num_lines: Tensor | None = None) -> Tensor:
        if images.ndim == 3:
            images = images[:, None]
        height = images.shape[2]
        assert images.shape[1:] == (self.in_channels, height, self.points), tuple(images.shape)
        real = None if num_lines is None else torch.arange(height, device=images.device) < num_lines
        with no_autocast(images.device):
            lines = self._normalised(images.float(), real).transpose(1, 2).flatten(2)
        x = self.embed(lines)
        x = self.drop(x + line_positions(height, self.config.width, device=x.device).to(x.dtype))
        mask = self._mask(height, real, images.device)
        for block in self.blocks:
            x = block(x, mask)
        tokens = self.norm(x)
        with no_autocast(tokens.device):
            logits = self.head(tokens.float().flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return logits if real is None else logits.masked_fill(~real[..., None], 0.0)

    def set_bias(self, values: Sequence[float]) -> None:
        """Set the initial class scores (num_labels,), e.g. log-priors."""
        self.head.set_bias(values)

    def _normalised(self, images: Tensor, real: Tensor | None) -> Tensor:
        """Standardised images, (B, C, H, P) float32 as given; padded lines are 0."""
        if real is not None:
            images = images.masked_fill(~real[:, None, :, None], 0.0)
        if self.config.normalise_lines:
            return _standardised(images, images.mean(-1, keepdim=True), images.var(-1, correction=0, keepdim=True))
        weights = (
            images.new_ones(len(images), 1, images.shape[2], 1) if real is None else real[:, None, :, None].float()
        )
        # Relative to the first line, so that a large common offset does not cancel the variance.
        images = (images - images[:, :, :1].mean(-1, keepdim=True)) * weights
        sums = [images.mean(-1, keepdim=True), images.square().mean(-1, keepdim=True), weights]
        if self.config.causal:
            total, squares, count = (term.cumsum(2) for term in sums)
        else:
            total, squares, count = (term.sum(2, keepdim=True) for term in sums)
        mean = total / count
        return _standardised(images, mean, (squares / count - mean.square()).clamp(min=0)) * weights

    def _mask(self, height: int, real: Tensor | None, device: torch.device) -> Tensor | None:
        """Attention mask, bool, (B or 1, 1, H or 1, H); None: no mask. The first line is always visible."""
        visible = None if real is None else real[:, None, None, :]
        if self.config.causal:
            earlier = torch.ones(1, 1, height, height, dtype=torch.bool, device=device).tril()
            visible = earlier if visible is None else visible & earlier
        return visible


def line_positions(height: int, width: int, *, device: torch.device) -> Tensor:
    """Sinusoidal encoding of the line number (Vaswani et al. 2017, section 3.5): (height, width) float32."""
    line = torch.arange(height, dtype=torch.float32, device=device)[:, None]
    pair = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angle = line * torch.exp(-math.log(10_000) / width * pair)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def _standardised(images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """(images - mean) / std; 0 where the standard deviation is only rounding error."""
    std = variance.sqrt().clamp(min=_TINY)
    return (images - mean) / torch.maximum(std, _MIN_RELATIVE_STD * mean.abs())
