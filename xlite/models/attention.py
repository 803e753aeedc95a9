"""Self-attention over the tokens of a feature map: exact softmax attention, and Performer, linear in tokens."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlite.device import no_autocast


def num_usable_heads(dim: int, num_heads: int) -> int:
    """The largest divisor of `dim` that is at most `num_heads`."""
    return max(heads for heads in range(1, min(num_heads, dim) + 1) if dim % heads == 0)


class MultiHeadSelfAttention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017). x: (B, N, C) float -> (B, N, C).

    `mask`: bool, broadcast to (B, heads, N, N); True where the row's token may attend to the column's.
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_usable_heads(dim, num_heads)
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.num_heads)
        dropout = self.dropout if self.training else 0.0
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)))


class PerformerAttention(nn.Module):
    """FAVOR+ (Choromanski et al., arXiv 2009.14794): softmax attention estimated by positive random features.

    Time and memory grow with N, not N^2. Always computed in float32: the features are exponentials.
    x: (B, N, C) float -> (B, N, C).
    """

    projection: Tensor

    def __init__(self, dim: int, *, num_heads: int, num_features: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_heads = num_usable_heads(dim, num_heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("projection", orthogonal_gaussian(num_features, dim // self.num_heads, generator))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        with no_autocast(x.device):
            q, k, v = split_heads(qkv.float(), self.num_heads)
            out = merge_heads(favor_attention(q, k, v, self.projection.float()))
        return self.proj(out.to(qkv.dtype))


class AttentionBlock(nn.Module):
    """x + attention(LayerNorm(x)). x: (B, N, C) float -> (B, N, C)."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))


def orthogonal_gaussian(num_features: int, dim: int, generator: torch.Generator) -> Tensor:
    """Rows distributed as N(0, I), orthogonal within each block of `dim` rows (2009.14794, section 3.2).

    Returns:
        (num_features, dim) float32, on the CPU.
    """
    blocks = []
    for _ in range(math.ceil(num_features / dim)):
        # Drawn and factored in float64, so that float32 rows are orthogonal to rounding.
        gaussian = torch.randn(dim, dim, generator=generator, dtype=torch.float64, device="cpu")
        q, r = torch.linalg.qr(gaussian)
        blocks.append((q * r.diagonal().sign()).T)  # the signs make it uniform over the orthogonal group
    lengths = torch.randn(num_features, dim, generator=generator, dtype=torch.float64, device="cpu").norm(dim=1)
    return (torch.cat(blocks)[:num_features] * lengths[:, None]).float()


def log_features(x: Tensor, projection: Tensor) -> Tensor:
    """log phi(x), where E[phi(q) . phi(k)] = exp(q . k / sqrt(D)) over random projections.

    Args:
        x: (..., N, D) queries or keys, unscaled.
        projection: (M, D).

    Returns:
        (..., N, M).
    """
    x = x * x.shape[-1] ** -0.25
    return x @ projection.T - x.square().sum(-1, keepdim=True) / 2 - math.log(projection.shape[0]) / 2


def favor_attention(q: Tensor, k: Tensor, v: Tensor, projection: Tensor) -> Tensor:
    """phi(q) (phi(k)^T v), each row divided by phi(q) (phi(k)^T 1).

    Both exponentials are shifted by maxima that cancel in the quotient: each feature's over the keys, moved into the
    queries, then each query's over the features. Every denominator is then at least 1, with no epsilon to bias it.

    Args:
        q, k, v: (..., N, D) float32.
        projection: (M, D).

    Returns:
        (..., N, D).
    """
    log_q, log_k = log_features(q, projection), log_features(k, projection)
    peak_k = log_k.amax(dim=-2, keepdim=True).detach()
    log_q = log_q + peak_k
    phi_q = (log_q - log_q.amax(dim=-1, keepdim=True).detach()).exp()
    phi_k = (log_k - peak_k).exp()
    normaliser = phi_q @ phi_k.sum(dim=-2)[..., None]
    return phi_q @ (phi_k.transpose(-2, -1) @ v) / normaliser


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3C) -> three of (B, heads, N, C / heads)."""
    batch, num_tokens, width = qkv.shape
    q, k, v = qkv.reshape(batch, num_tokens, 3, num_heads, width // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, D) -> (B, N, heads * D)."""
    return x.transpose(1, 2).flatten(2)
