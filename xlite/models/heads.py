"""The last layer for exclusive classes: one linear score per class, or ordered grades (CORAL)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlite.config import ModelConfig
from xlite.device import no_autocast

_MIN_GAP = 1e-3  # between neighbouring thresholds; keeps every class's log-probability finite


class ClassHead(nn.Module):
    """features: (B, dim) -> class logits (B, num_labels), one free weight vector and bias for each class."""

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_labels)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)

    def set_bias(self, values: Sequence[float]) -> None:
        """Set the logits of zero features to `values`, (num_labels,) class scores, e.g. log-priors."""
        assert len(values) == self.linear.out_features, (len(values), self.linear.out_features)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor(values))


class CoralHead(nn.Module):
    """features: (B, dim) -> log-probabilities (B, num_labels) float32 of ordered classes.

    CORAL (Cao et al., arXiv 1901.07884): P(Y > k) = sigmoid(w.x + b_k) with one w for all k. The thresholds decrease
    by construction (each is a softplus below the one before), so that every class has a probability above 0. The output
    is normalised: its softmax is the class probabilities, and it can be used like logits.
    """

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        assert num_labels >= 2, num_labels
        self.score = nn.Linear(dim, 1, bias=False)
        self.first = nn.Parameter(torch.zeros(1))
        self.raw_gaps = nn.Parameter(torch.zeros(num_labels - 2))
        self.set_bias([0.0] * num_labels)

    @property
    def thresholds(self) -> Tensor:
        """The b_k, (num_labels - 1,), decreasing."""
        return torch.cat([self.first, self.first - self._gaps().cumsum(0)])

    def forward(self, features: Tensor) -> Tensor:
        with no_autocast(features.device):
            above = self.score(features.float()) + self.thresholds  # log-odds of Y > k
            return class_log_probabilities(above, self._gaps())

    def set_bias(self, values: Sequence[float]) -> None:
        """Set the thresholds so that the class probabilities are softmax(values) where w.x is 0.

        Args:
            values: (num_labels,) class scores, e.g. log-priors.
        """
        scores = torch.tensor(values, dtype=torch.float64)
        assert len(scores) == len(self.raw_gaps) + 2, len(scores)
        below = scores.logcumsumexp(0)[:-1]
        above = scores.flip(0).logcumsumexp(0).flip(0)[1:]
        thresholds = above - below
        gaps = (thresholds[:-1] - thresholds[1:] - _MIN_GAP).clamp(min=1e-6)
        with torch.no_grad():
            self.first.copy_(thresholds[:1])
            self.raw_gaps.copy_(gaps + (-torch.expm1(-gaps)).log())  # the inverse of softplus

    def _gaps(self) -> Tensor:
        return F.softplus(self.raw_gaps) + _MIN_GAP


def class_log_probabilities(above: Tensor, gaps: Tensor) -> Tensor:
    """log P(Y = k) from the log-odds of Y > k.

    With a > b the log-odds on either side of a class, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)).
    This subtracts no nearly equal numbers, so values and gradients stay finite for any finite logits.

    Args:
        above: (B, K - 1), decreasing along the last axis.
        gaps: (K - 2,) > 0, the differences between neighbours in `above`.

    Returns:
        (B, K).
    """
    outside = torch.zeros_like(above[:, :1])
    higher, lower = F.logsigmoid(above), F.logsigmoid(-above)  # log P(Y > k), log P(Y <= k)
    between = (-torch.expm1(-gaps)).log()
    inside = torch.cat([above.new_zeros(1), between, above.new_zeros(1)])
    return torch.cat([outside, higher], dim=1) + torch.cat([lower, outside], dim=1) + inside


def create_head(config: ModelConfig, dim: int, num_labels: int) -> ClassHead | CoralHead:
    """The head that `config.head` names."""
    return CoralHead(dim, num_labels) if config.head == "coral" else ClassHead(dim, num_labels)
