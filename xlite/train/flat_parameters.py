"""Parameters side by side in one tensor: clipping and updating them is a few operations, not a few for each of them."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

_ALIGNMENT = 16
"""Elements, 64 bytes of float32: where a parameter may begin, as PyTorch's own allocations do on a CPU."""
_ROW = 1024
"""Elements that are squared and summed by themselves: PyTorch's norm of 28 million in a row is off by 0.2%."""


class FlatParameters:
    """Parameters that lie in one tensor from now on, each a view of it in its own shape and memory order.

    Attributes:
        parameters: as given; the model goes on using them.
        value: (N,), all of them, with zeros between and behind; for an optimiser.

    Args:
        parameters: at least one, all of one dtype on one device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        *starts, end = accumulate((-(-p.numel() // _ALIGNMENT) * _ALIGNMENT for p in self.parameters), initial=0)
        self.value = nn.Parameter(self.parameters[0].new_zeros(-(-end // _ROW) * _ROW))
        self._gradient = torch.zeros_like(self.value, requires_grad=False)
        self._gradients = [_view(self._gradient, p, at) for p, at in zip(self.parameters, starts, strict=True)]
        for parameter, at in zip(self.parameters, starts, strict=True):
            view = _view(self.value.detach(), parameter, at)
            view.copy_(parameter.detach())
            parameter.data = view

    def take_gradients(self) -> None:
        """The parameters' gradients become that of `value`; one that has none counts as 0, None if none has any."""
        pairs = [(mine, p.grad) for mine, p in zip(self._gradients, self.parameters, strict=True) if p.grad is not None]
        if len(pairs) < len(self.parameters):
            self._gradient.zero_()
        if pairs:
            torch._foreach_copy_([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
        self.value.grad = self._gradient if pairs else None
        for parameter in self.parameters:
            parameter.grad = None


def clip_gradients(groups: Sequence[FlatParameters], most: float) -> Tensor:
    """As `nn.utils.clip_grad_norm_` of all their parameters: the norm of all gradients, before it is clipped."""
    rows = [g.value.grad.view(-1, _ROW) for g in groups if g.value.grad is not None]
    norm = torch.linalg.vector_norm(torch.cat([torch.linalg.vector_norm(part, dim=1) for part in rows]))
    nn.utils.clip_grads_with_norm_([group.value for group in groups], most, norm)
    return norm


def _view(flat: Tensor, like: Tensor, at: int) -> Tensor:
    """A part of the flat tensor in the shape and memory order of another one."""
    return flat.as_strided(like.size(), torch.empty_like(like).stride(), at)
