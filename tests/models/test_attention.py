"""Performer estimates softmax attention, stays finite, and never costs N^2."""

import math

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xlite.models.attention import (
    AttentionBlock,
    MultiHeadSelfAttention,
    PerformerAttention,
    favor_attention,
    log_features,
    num_usable_heads,
    orthogonal_gaussian,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _qkv(num_tokens: int = 32, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spread as a freshly initialised linear layer spreads normalised tokens: standard deviation 0.58."""
    q, k, v = 0.58 * torch.randn(3, 1, 2, num_tokens, dim, generator=_generator(1))
    return q, k, v


def _relative_error(num_features: int, seed: int) -> float:
    q, k, v = _qkv()
    exact = nn.functional.scaled_dot_product_attention(q, k, v)
    estimate = favor_attention(q, k, v, orthogonal_gaussian(num_features, q.shape[-1], _generator(seed)))
    return float((estimate - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("dim", "wanted", "got"), [(288, 8, 8), (1280, 8, 8), (10, 8, 5), (7, 8, 7), (7, 4, 1), (1, 8, 1)]
)
def test_heads_are_lowered_to_the_largest_divisor(dim: int, wanted: int, got: int) -> None:
    assert num_usable_heads(dim, wanted) == got


def test_error_falls_with_features_and_is_under_5_percent_with_many() -> None:
    few, some, many = (sum(_relative_error(m, seed) for seed in range(4)) / 4 for m in (16, 256, 16384))
    assert few > some > many
    assert many < 0.05


def test_kernel_estimate_is_unbiased() -> None:
    q, k = 0.58 * torch.randn(2, 1, 16, generator=_generator(3))
    exact = math.exp(float(q[0] @ k[0]) / 4)  # sqrt(16) = 4
    estimates = []
    for seed in range(2000):
        projection = orthogonal_gaussian(16, 16, _generator(seed))
        phi_q, phi_k = log_features(q, projection).exp(), log_features(k, projection).exp()
        estimates.append(float((phi_q * phi_k).sum()))
    mean = sum(estimates) / len(estimates)
    spread = torch.tensor(estimates).std() / math.sqrt(len(estimates))
    assert abs(mean - exact) < 4 * float(spread)
    assert float(spread) < 0.05 * exact


def test_projection_rows_are_orthogonal_within_a_block_with_gaussian_lengths() -> None:
    projection = orthogonal_gaussian(40, 16, _generator())
    assert projection.shape == (40, 16)
    unit = nn.functional.normalize(projection, dim=1)
    for block in unit.split(16):
        assert torch.allclose(block @ block.T, torch.eye(len(block)), atol=1e-5)
    lengths = orthogonal_gaussian(4000, 16, _generator()).square().sum(1)
    assert float(lengths.mean()) == pytest.approx(16, rel=0.02)
    assert float(lengths.var()) == pytest.approx(32, rel=0.1)  # chi-squared with 16 degrees of freedom


class _Largest(TorchFunctionMode):
    """The element count of the largest tensor any operation makes."""

    num_elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.num_elements = max([self.num_elements, *sizes])
        return out


def test_largest_tensor_grows_with_tokens_not_their_square() -> None:
    block = AttentionBlock(16, PerformerAttention(16, num_heads=2, num_features=8, generator=_generator()))
    largest = {}
    for num_tokens in (1000, 4000):
        with _Largest() as mode:
            block(torch.zeros(1, num_tokens, 16))
        largest[num_tokens] = mode.num_elements
    assert largest[4000] == 4 * largest[1000] == 4000 * 3 * 16  # qkv


def test_twenty_thousand_tokens_run_forward_and_back() -> None:
    attention = PerformerAttention(16, num_heads=2, num_features=8, generator=_generator())
    out = attention(torch.randn(1, 20_000, 16, generator=_generator()))  # N x N would be 3.2 GB
    out.sum().backward()
    assert out.isfinite().all()


@pytest.mark.parametrize("kind", ["mhsa", "performer"])
def test_gradient_reaches_every_parameter(kind: str) -> None:
    block = AttentionBlock(24, _attention(kind))
    block(torch.randn(2, 9, 24, generator=_generator())).square().sum().backward()
    without = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.bfloat16, 1.0), (torch.bfloat16, 100.0), (torch.float16, 1.0)]
)  # float16 gradients of inputs of 100 pass its largest number, 65504, for some weights; nothing here trains in it
@pytest.mark.parametrize("kind", ["mhsa", "performer"])
def test_stays_finite_under_autocast_with_large_inputs(kind: str, dtype: torch.dtype, scale: float) -> None:
    attention = _attention(kind)
    x = scale * torch.randn(2, 50, 24, generator=_generator())
    x.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        out = attention(x)
    out.float().square().mean().backward()
    assert out.isfinite().all()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in attention.parameters())


def test_random_features_are_computed_in_float32_under_autocast() -> None:
    q, k, v = (10 * t for t in _qkv())
    attention = _attention("performer")
    seen = []
    attention.register_buffer("projection", _Spy.wrap(attention.projection, seen))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention(torch.randn(1, 5, 24, generator=_generator()))
    assert seen and set(seen) == {torch.float32}
    assert favor_attention(q, k, v, orthogonal_gaussian(8, 16, _generator())).isfinite().all()


class _Spy(torch.Tensor):
    """Notes the dtype of every result computed from it."""

    @staticmethod
    def wrap(tensor: torch.Tensor, seen: list[torch.dtype]) -> "_Spy":
        spy = tensor.as_subclass(_Spy)
        _Spy.seen = seen
        return spy

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        if getattr(func, "__name__", "") in {"matmul", "__matmul__", "__rmatmul__"}:
            cls.seen.append(out.dtype)
        return out


def test_a_reload_keeps_the_random_projection() -> None:
    first, second = _attention("performer", seed=1), _attention("performer", seed=2)
    x = torch.randn(2, 9, 24, generator=_generator())
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


def test_exact_attention_drops_out_only_in_training() -> None:
    attention = MultiHeadSelfAttention(24, num_heads=4, dropout=0.5)
    x = torch.randn(1, 9, 24, generator=_generator())
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def _attention(kind: str, seed: int = 0) -> nn.Module:
    if kind == "mhsa":
        return MultiHeadSelfAttention(24, num_heads=4, dropout=0.1)
    return PerformerAttention(24, num_heads=4, num_features=8, generator=_generator(seed))
