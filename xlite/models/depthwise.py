"""Depthwise convolutions with gradients that a CPU finds quickly where the map is about as small as the kernel."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST_POSITIONS = 16
"""Of the input map, h * w. Its cost grows with their square: on maps of 8 x 8 oneDNN's gradient is the faster one."""


def quicken(model: nn.Module) -> None:
    """Let the model's depthwise convolutions use `_SmallMap` in training on a CPU; its state and outputs do not change.

    oneDNN takes 3 ms for the gradients of a 5 x 5 kernel on 16 maps of 288 x 2 x 2, this 0.6 ms: a step of
    MobileNetV3-small 0.5x at 64 px takes a fifth less time (benchmarks/layout.py).
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_depthwise(module):
            module.__class__ = _DepthwiseConv2d


def _is_depthwise(conv: nn.Conv2d) -> bool:
    sizes = (conv.kernel_size, conv.stride, conv.padding)
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and all(isinstance(size, tuple) and size[0] == size[1] for size in sizes)
    )


class _DepthwiseConv2d(nn.Conv2d):
    """As its base, with another way to its gradients."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = input.shape[-2] * input.shape[-1] <= MOST_POSITIONS
        plain = input.device.type == "cpu" and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (small and plain and torch.is_grad_enabled()):
            return super()._conv_forward(input, weight, bias)
        out: Tensor = _SmallMap.apply(input, weight, self.stride[0], self.padding[0])
        return out if bias is None else out + bias.view(-1, 1, 1)


class _SmallMap(torch.autograd.Function):
    """A channel's convolution is a matrix from its P input to its Q output positions; so are both its gradients."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(input, weight, None, stride, padding, 1, input.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        input, weight = ctx.saved_tensors
        batch, channels, height, width = input.shape
        taps = _taps((height, width), tuple(slope.shape[2:]), weight.shape[-1], ctx.stride, ctx.padding)
        slopes = slope.permute(1, 2, 3, 0).reshape(channels, -1, batch)  # (C, Q, B)
        inputs = input.permute(1, 2, 3, 0).reshape(channels, -1, batch)  # (C, P, B)
        pairs = torch.bmm(inputs, slopes.transpose(1, 2))  # (C, P, Q)
        of_weight = (pairs.view(channels, -1) @ taps).view(weight.shape)
        matrices = (weight.reshape(channels, -1) @ taps.T).view(pairs.shape)
        of_input = torch.bmm(matrices, slopes).view(channels, height, width, batch).permute(3, 0, 1, 2)
        return of_input.contiguous(memory_format=torch.channels_last), of_weight, None, None


@lru_cache(maxsize=256)
def _taps(size: tuple[int, int], out_size: tuple[int, ...], kernel: int, stride: int, padding: int) -> Tensor:
    """(P * Q, kernel**2) of 0 and 1: which tap of the kernel leads from an input to an output position."""
    taps = torch.zeros(*size, *out_size, kernel, kernel)
    for i in range(out_size[0]):
        for j in range(out_size[1]):
            for a in range(kernel):
                for b in range(kernel):
                    y, x = i * stride - padding + a, j * stride - padding + b
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        taps[y, x, i, j, a, b] = 1
    return taps.view(-1, kernel * kernel)
