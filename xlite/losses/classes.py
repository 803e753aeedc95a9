"""Supervised losses for mutually exclusive classes: weighted cross-entropy, CORAL; unknown rows are masked."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.config import LossConfig
from xlite.data.balance import effective_number, positive_counts
from xlite.errors import InputError

_FOCAL_GAMMA = 2.0  # of the extra focal term if the loss itself is not modulated


def cross_entropy(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """-w_y (1 - p_y)^gamma log p_y, mean over the known rows weighted by w_y; 0 if none is known.

    gamma = 0 is `torch.nn.functional.cross_entropy` with weights; gamma > 0 its focal modulation (Lin et al., arXiv
    1708.02002, eq. 4, over a softmax).

    Args:
        logits: (..., K) float of any precision.
        targets: (..., K) one-hot rows of 0 and 1, or all NaN (unknown).
        class_weights: (K,) above 0, or None for ones.
    """
    log_p, truth, known = _prepare(logits, targets)
    chosen = (log_p * truth).sum(dim=-1)
    weights = known if class_weights is None else known * (truth * class_weights).sum(dim=-1)
    terms = -chosen if gamma == 0 else -((-torch.expm1(chosen)).clamp(min=0) ** gamma) * chosen
    return (weights * terms).sum() / weights.sum().clamp(min=1e-12)


def cumulative_logits(logits: Tensor) -> Tensor:
    """Class logits (..., K) -> log(P(Y > k) / P(Y <= k)) for k = 0..K-2, (..., K-1), with P their softmax."""
    log_p = F.log_softmax(logits, dim=-1)
    above = torch.logcumsumexp(log_p.flip(-1), dim=-1).flip(-1)[..., 1:]
    below = torch.logcumsumexp(log_p, dim=-1)[..., :-1]
    return above - below


def coral(logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of Y > k, summed over k (Cao et al., arXiv 1901.07884, eq. 4).

    Mean over the known rows, each weighted by the weight of its class.

    Args:
        logits: (..., K) class logits, e.g. of `models.heads.CoralHead`.
        targets: (..., K) one-hot in the order of the grades, or all NaN (unknown).
        class_weights: (K,) or None.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    _, truth, known = _prepare(logits, targets)
    above = truth.flip(-1).cumsum(dim=-1).flip(-1)[..., 1:]
    terms = F.binary_cross_entropy_with_logits(cumulative_logits(logits), above, reduction="none").sum(dim=-1)
    weights = known if class_weights is None else known * (truth * class_weights).sum(dim=-1)
    return (weights * terms).sum() / weights.sum().clamp(min=1e-12)


def class_weights(text: str, targets: np.ndarray, *, beta: float) -> np.ndarray | None:
    """(K,) float32 class weights; None for weights of 1.

    Args:
        text: `loss.class_weights`: "none"; "balanced", N / (K n_k), 1 for a class without rows; "effective_number",
            scaled to mean 1; or K numbers.
        targets: (..., K) training targets, one-hot or NaN.
        beta: of effective_number.

    Raises:
        InputError: there are not K numbers, or one is not above 0.
    """
    flat = targets.reshape(-1, targets.shape[-1])
    num_classes = flat.shape[1]
    if text == "none":
        return None
    counts = positive_counts(flat)
    if text == "effective_number":
        return effective_number(counts, beta=beta).astype(np.float32)
    if text == "balanced":
        return np.where(counts > 0, counts.sum() / (num_classes * np.maximum(counts, 1)), 1.0).astype(np.float32)
    weights = np.array([float(number) for number in text.split(",")], dtype=np.float32)
    if len(weights) != num_classes or not (weights > 0).all():
        raise InputError(f"loss.class_weights={text}: give {num_classes} numbers above 0, one for each class")
    return weights


@dataclass(frozen=True)
class ClassLoss:
    """The supervised ("hard") loss for exclusive classes, its weights fixed; see `make_class_loss`.

    Attributes:
        class_weights: (K,) or None.
    """

    config: LossConfig
    class_weights: Tensor | None

    def __call__(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """{"hard": the loss, and the same under its own name}, scalars; shapes as in `cross_entropy`."""
        if self.config.name == "coral":
            value = coral(logits, targets, class_weights=self.class_weights)
        else:
            value = cross_entropy(logits, targets, class_weights=self.class_weights, gamma=self.config.class_gamma)
        return {"hard": value, self.config.name: value}

    def focal(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`cross_entropy` without class weights, with the configured gamma or, if that is 0, with 2."""
        return cross_entropy(logits, targets, gamma=self.config.class_gamma or _FOCAL_GAMMA)

    def to(self, device: torch.device | str) -> "ClassLoss":
        """The same loss with its weights on `device`."""
        return self if self.class_weights is None else replace(self, class_weights=self.class_weights.to(device))


def make_class_loss(config: LossConfig, targets: np.ndarray) -> ClassLoss:
    """The configured loss, its class weights computed from the training targets (..., K).

    Raises:
        InputError: as `class_weights`.
    """
    weights = class_weights(config.class_weights, targets, beta=config.beta)
    return ClassLoss(config, None if weights is None else torch.from_numpy(weights))


def _prepare(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, one-hot truth (0 in unknown rows), and 1 for known rows, all of the logits' type."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    known = ~torch.isnan(targets).any(dim=-1)
    truth = torch.where(known[..., None], targets, 0).to(logits.dtype)
    return F.log_softmax(logits, dim=-1), truth, known.to(logits.dtype)
