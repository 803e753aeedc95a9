"""Convolutions of small feature maps as matrix products, which on a CPU are faster than oneDNN's convolutions."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MAX_ROWS = 2048
"""Positions of a batch, b * h * w, up to which a pointwise convolution is faster as one matrix product."""


def use_matmul_convolutions(model: nn.Module) -> None:
    """Compute convolutions of small maps as matrix products when training on a CPU; the state dict does not change.

    Depthwise convolutions whose kernel is larger than the map get another backward pass: oneDNN's is slow there, most
    of all without AVX-512, and faster than this one where the kernel fits into the map. Pointwise ones (1 x 1) become
    linear layers over channels. Both equal PyTorch's results up to rounding. Time saved: benchmarks/layout.py.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d:
            if _is_depthwise(module):
                module.__class__ = _DepthwiseConv2d
            elif _is_pointwise(module):
                module.__class__ = _PointwiseConv2d


def _is_depthwise(conv: nn.Conv2d) -> bool:
    sizes = (conv.kernel_size, conv.stride, conv.padding)
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and all(isinstance(size, tuple) and size[0] == size[1] for size in sizes)
    )


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "valid", "same")


def _trains_on_cpu(module: nn.Module, input: Tensor) -> bool:
    is_plain = input.device.type == "cpu" and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_plain and module.training


class _PointwiseConv2d(nn.Conv2d):
    """A 1 x 1 convolution as a linear layer."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = input.numel() <= MAX_ROWS * self.in_channels
        if not (small and input.ndim == 4 and _trains_on_cpu(self, input)):
            return super()._conv_forward(input, weight, bias)
        return nn.functional.linear(input.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


class _DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with `_SmallMap`'s gradients."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = max(input.shape[-2:]) < self.kernel_size[0]
        if not (small and _trains_on_cpu(self, input)):
            return super()._conv_forward(input, weight, bias)
        out: Tensor = _SmallMap.apply(input, weight, self.stride[0], self.padding[0])
        return out if bias is None else out + bias.view(-1, 1, 1)


class _SmallMap(torch.autograd.Function):
    """A channel's convolution as a (P, Q) matrix from input to output positions, from which both gradients follow."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(input, weight, None, stride, padding, 1, input.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        input, weight = ctx.saved_tensors
        batch, channels, height, width = input.shape
        taps = _taps((height, width), tuple(grad_output.shape[2:]), weight.shape[-1], ctx.stride, ctx.padding)
        grads = grad_output.permute(1, 2, 3, 0).contiguous().view(channels, -1, batch)  # (C, Q, B)
        inputs = input.permute(1, 2, 3, 0).contiguous().view(channels, -1, batch)  # (C, P, B)
        pairs = torch.bmm(inputs, grads.transpose(1, 2))  # (C, P, Q)
        grad_weight = (pairs.view(channels, -1) @ taps).view(weight.shape)
        matrices = (weight.reshape(channels, -1) @ taps.T).view(pairs.shape)
        grad_input = torch.bmm(matrices, grads).view(channels, height, width, batch).permute(3, 0, 1, 2)
        return grad_input.contiguous(memory_format=torch.channels_last), grad_weight, None, None


@lru_cache(maxsize=256)
def _taps(size: tuple[int, int], out_size: tuple[int, ...], kernel: int, stride: int, padding: int) -> Tensor:
    """(P * Q, kernel**2) of 0 and 1: the kernel element that connects an input to an output position."""
    taps = torch.zeros(*size, *out_size, kernel, kernel)
    for i in range(out_size[0]):
        for j in range(out_size[1]):
            for a in range(kernel):
                for b in range(kernel):
                    y, x = i * stride - padding + a, j * stride - padding + b
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        taps[y, x, i, j, a, b] = 1
    return taps.view(-1, kernel * kernel)
