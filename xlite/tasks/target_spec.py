"""Families of targets: several labels at once, one class of several, grades in their order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from xlite.config import RunConfig
from xlite.data.balance import sample_weights
from xlite.data.sources import TargetKind
from xlite.errors import InputError
from xlite.losses.objectives import class_objective, multilabel_objective
from xlite.metrics.classes import argmax_thresholds, evaluate_classes, weighted_balanced_accuracy
from xlite.metrics.multilabel import Evaluation, Metric, evaluate_multilabel, weighted_macro_auc
from xlite.metrics.thresholds import choose_thresholds

_LEAST_SHARE = 1e-3  # a class or label rarer than this still starts with a finite bias


class Objective(Protocol):
    """The training loss of one run."""

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss": what is minimised, and every named part of it}; scalars. Shapes (B, ..., L)."""

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The part that needs no teacher, for validation."""


@dataclass(frozen=True)
class TargetSpec:
    """What a kind of target decides: loss, distillation, metrics.

    Attributes:
        kind: its name, recorded in what is exported.
        config: dotted keys that every run starts from.
        make_objective: (configuration, training targets (R, ..., L)) -> loss.
        probabilities: logits (N, ..., L) -> probabilities.
        evaluate: (probabilities, targets, labels) -> metrics.
        metric: the scalar of `evaluate` that selection maximises; bootstrap: the same under resampled rows.
        initial_bias: training targets -> (L,) what the last layer's bias starts from.
        sample_weights: (targets, sampler name) -> (R,) weights; None draws every row once.
        choose_thresholds: (probabilities, targets, labels, method=) -> thresholds by label, and notes.
    """

    kind: TargetKind
    config: Mapping[str, Any]
    make_objective: Callable[[RunConfig, np.ndarray], Objective]
    probabilities: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray, np.ndarray, Sequence[str]], Evaluation]
    metric: str
    bootstrap: Metric
    initial_bias: Callable[[np.ndarray], list[float]]
    sample_weights: Callable[[np.ndarray, str], np.ndarray | None]
    choose_thresholds: Callable[..., tuple[dict[str, float], tuple[str, ...]]]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Independent probabilities, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of classes that exclude each other, over the last axis, without overflow."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def log_odds(targets: np.ndarray) -> list[float]:
    """(L,) log-odds of each label's share of positives among its known targets (N, L); 0 where nothing is known.

    RetinaNet, arXiv 1708.02002, section 4.1: training starts at the base rates.
    """
    known = np.isfinite(targets)
    count = known.sum(axis=0)
    shares = np.where(count > 0, np.where(known, targets, 0).sum(axis=0) / np.maximum(count, 1), 0.5)
    shares = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(shares / (1 - shares)).tolist()


def log_priors(targets: np.ndarray) -> list[float]:
    """(K,) logarithms of the classes' shares among the known rows of (N, ..., K)."""
    counts = np.nansum(targets.reshape(-1, targets.shape[-1]), axis=0)
    return np.log(np.maximum(counts / max(counts.sum(), 1), _LEAST_SHARE)).tolist()


def _label_weights(targets: np.ndarray, sampler: str) -> np.ndarray | None:
    return None if sampler == "none" else sample_weights(targets, how=sampler)  # type: ignore[arg-type]


def _class_weights(targets: np.ndarray, sampler: str) -> np.ndarray | None:
    """Rows in proportion to their class's inverse frequency; unknown rows as the most frequent class."""
    if sampler == "none":
        return None
    if targets.ndim != 2:
        raise InputError(f"data.sampler={sampler}: examples with several targets are drawn plainly; use none")
    counts = np.nansum(targets, axis=0)
    weights = 1.0 / (counts + 1)
    known = np.isfinite(targets).all(axis=1)
    return np.where(known, weights[np.nan_to_num(targets).argmax(axis=1)], weights.min())


MULTILABEL = TargetSpec(
    kind="multilabel",
    config={"loss.name": "bce"},
    make_objective=multilabel_objective,
    probabilities=sigmoid,
    evaluate=evaluate_multilabel,
    metric="auc_macro",
    bootstrap=weighted_macro_auc,
    initial_bias=log_odds,
    sample_weights=_label_weights,
    choose_thresholds=choose_thresholds,
)
MULTICLASS = TargetSpec(
    kind="multiclass",
    config={"loss.name": "cross_entropy"},
    make_objective=class_objective,
    probabilities=softmax,
    evaluate=evaluate_classes,
    metric="balanced_accuracy",
    bootstrap=weighted_balanced_accuracy,
    initial_bias=log_priors,
    sample_weights=_class_weights,
    choose_thresholds=argmax_thresholds,
)
ORDINAL = replace(MULTICLASS, kind="ordinal", evaluate=partial(evaluate_classes, ordinal=True))
TARGET_SPECS: Mapping[TargetKind, TargetSpec] = {
    target_spec.kind: target_spec for target_spec in (MULTILABEL, MULTICLASS, ORDINAL)
}
