"""Supervised losses for independent 0/1 labels; unknown (NaN) targets are masked; float32 or float64 arithmetic."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.config import LossConfig
from xlite.data.balance import (
    effective_number,
    inverse_frequency,
    negative_shares,
    negatives_positives,
    positive_counts,
)

ALPHA_RANGE = (0.05, 0.95)
"""Bounds of a per-label focal alpha, so that neither positives nor negatives are all but ignored."""


def bce(
    logits: Tensor, targets: Tensor, *, pos_weight: Tensor | None = None, label_weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy, mean over the known entries; exactly 0 when nothing is known.

    Args:
        logits: (N, L) float of any precision.
        targets: (N, L) of 0, 1 or NaN (unknown).
        pos_weight: (L,) multiplies the positive terms only.
        label_weight: (L,) multiplies positive and negative terms alike; mean 1 keeps the loss's scale.
    """
    logits, known, truth = _prepare(logits, targets)
    entries = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=pos_weight, reduction="none")
    return _known_mean(entries if label_weight is None else entries * label_weight, known)


def focal(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float | Tensor) -> Tensor:
    """Focal loss -alpha_t (1 - p_t)^gamma log(p_t) (Lin et al., arXiv 1708.02002, eq. 5), mean over the known entries.

    Computed from log-sigmoids, so values and gradients stay finite for any finite logit and gamma >= 0.

    Args:
        logits: (N, L) float of any precision.
        targets: (N, L) of 0, 1 or NaN (unknown).
        gamma: 0 is alpha-balanced cross-entropy.
        alpha: weight of the positives in (0, 1), 1 - alpha of the negatives; a number or (L,).
    """
    logits, known, truth = _prepare(logits, targets)
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -alpha * torch.exp(gamma * log_q) * log_p
    negative = -(1 - alpha) * torch.exp(gamma * log_p) * log_q
    return _known_mean(truth * positive + (1 - truth) * negative, known)


@dataclass(frozen=True)
class SupervisedLoss:
    """The supervised ("hard") loss, its weights fixed; see `make_supervised_loss`.

    Attributes:
        config: which loss, and its parameters.
        pos_weight: (L,) or None, as in `bce`.
        label_weight: (L,) or None, as in `bce`.
        focal_alpha: a number or (L,), as in `focal`.
    """

    config: LossConfig
    pos_weight: Tensor | None
    label_weight: Tensor | None
    focal_alpha: float | Tensor

    def __call__(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """{"hard": the loss, and its unweighted terms by name: "bce", "focal" or both}, all scalars.

        Args:
            logits: (N, L) float.
            targets: (N, L) of 0, 1 or NaN (unknown).
        """
        name = self.config.name
        terms: dict[str, Tensor] = {}
        if name != "focal":
            terms["bce"] = bce(logits, targets, pos_weight=self.pos_weight, label_weight=self.label_weight)
        if name in ("focal", "bce_focal"):
            terms["focal"] = self.focal(logits, targets)
        if name == "bce_focal":
            share = self.config.bce_share
            return {"hard": share * terms["bce"] + (1 - share) * terms["focal"], **terms}
        (only,) = terms.values()
        return {"hard": only, **terms}

    def focal(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`focal` with the configured gamma and alpha, whichever loss is configured; shapes as in `focal`."""
        return focal(logits, targets, gamma=self.config.focal_gamma, alpha=self.focal_alpha)

    def to(self, device: torch.device | str) -> "SupervisedLoss":
        """The same loss with its weights on `device`."""
        alpha = self.focal_alpha
        return replace(
            self,
            pos_weight=None if self.pos_weight is None else self.pos_weight.to(device),
            label_weight=None if self.label_weight is None else self.label_weight.to(device),
            focal_alpha=alpha.to(device) if isinstance(alpha, Tensor) else alpha,
        )


def make_supervised_loss(config: LossConfig, targets: np.ndarray) -> SupervisedLoss:
    """The configured loss, its label weights computed from the training targets.

    `weighted_bce` weights positives by negatives/positives. The other two weightings apply to positives and negatives
    alike: they are far below 1 for common labels, and on positives alone would teach the model to predict none.

    Args:
        config: the loss section of a run's configuration.
        targets: (N, L) training targets of 0, 1 or NaN (unknown).
    """
    pos_weight = label_weight = None
    if config.name == "weighted_bce":
        if config.weighting == "negatives_positives":
            pos_weight = _float32(negatives_positives(targets))
        elif config.weighting == "inverse_frequency":
            counts = positive_counts(targets)
            label_weight = _float32(inverse_frequency(counts, smoothing=config.smoothing, power=config.power))
        else:
            label_weight = _float32(effective_number(positive_counts(targets), beta=config.beta))
    alpha: float | Tensor = config.focal_alpha
    if config.focal_alpha_per_label:
        alpha = _float32(np.clip(negative_shares(targets), *ALPHA_RANGE))
    return SupervisedLoss(config, pos_weight, label_weight, alpha)


def canonical_supervised(config: LossConfig, *, hard: bool, focal: bool) -> LossConfig:
    """`config` with every key that `SupervisedLoss` does not read at its default.

    Args:
        hard: whether the supervised loss has any weight; focal: whether the extra focal term has.
    """
    name = config.name if hard else "bce"
    if name == "bce_focal":
        name = {0.0: "focal", 1.0: "bce"}.get(config.bce_share, name)
    keys = {"bce_share"} if name == "bce_focal" else set()
    if name == "weighted_bce":
        parameters = {"inverse_frequency": {"smoothing", "power"}, "effective_number": {"beta"}}
        keys |= {"weighting"} | parameters.get(config.weighting, set())
    if focal or name in ("focal", "bce_focal"):
        keys |= {"focal_gamma", "focal_alpha_per_label"}
        keys |= set() if config.focal_alpha_per_label else {"focal_alpha"}
    return config.only(keys).model_copy(update={"name": name})


def _prepare(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in float32 or float64, the mask of known entries, and targets of the logits' type with 0 for unknown."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    known = ~torch.isnan(targets)
    return logits, known, torch.where(known, targets, 0).to(logits.dtype)


def _known_mean(entries: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, entries, 0).sum() / known.sum().clamp(min=1)


def _float32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
