"""Metrics for exclusive classes and for ordered grades; the predicted class is the most probable one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from xlite.errors import InputError
from xlite.metrics.multilabel import Evaluation, check_probabilities, evaluate_labels

_LEAST_PROBABILITY = 1e-15


def evaluate_classes(
    probs: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    *,
    class_weights: Sequence[float] | None = None,
    ordinal: bool = False,
) -> Evaluation:
    """Every metric of class probabilities against the known rows; the predicted class is the most probable one.

    `per_label` holds each class against the rest: recall, precision, F1, AUC, PR-AUC, how often it is predicted.
    `balanced_accuracy` is the mean recall over the classes that occur; `weighted_log_loss` weighs each row by its
    class; `kappa_quadratic` is Cohen's kappa with weights (i - j)^2, for grades.

    Args:
        probs: (..., K) in [0, 1], summing to 1.
        targets: (..., K) one-hot rows, or all NaN (unknown).
        labels: the K class names, grades in their order.
        class_weights: (K,), of `weighted_log_loss`; None leaves it out.

    Raises:
        ValueError: a probability is not finite, or outside [0, 1].
        InputError: fewer than two classes occur in the known rows.
    """
    probs, targets = known_rows(probs, targets)
    check_probabilities(probs, labels)
    truth = targets.argmax(axis=1)
    guess = probs.argmax(axis=1)
    if len(np.unique(truth)) < 2:
        raise InputError(f"only one class occurs among the {len(truth)} rows evaluated; evaluate on more rows")
    predicted = np.eye(len(labels), dtype=bool)[guess]
    evaluation = evaluate_labels(probs, predicted, targets, labels)
    log_p = np.log(np.clip(probs[np.arange(len(truth)), truth], _LEAST_PROBABILITY, None))
    scalars = {
        "accuracy": float((guess == truth).mean()),
        "balanced_accuracy": float(np.mean([(guess[truth == k] == k).mean() for k in np.unique(truth)])),
        "log_loss": float(-log_p.mean()),
        **{name: value for name, value in evaluation.scalars.items() if not name.endswith("_micro")},
    }
    if class_weights is not None:
        weights = np.asarray(class_weights, dtype=np.float64)[truth]
        scalars["weighted_log_loss"] = float(-(weights * log_p).sum() / weights.sum())
    if ordinal:
        scalars["kappa_quadratic"] = _quadratic_kappa(truth, guess, len(labels))
    return replace(evaluation, scalars=scalars)


def known_rows(probs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, K) float64 probabilities and one-hot targets of the known rows of (..., K) arrays.

    Raises:
        InputError: no row is known.
    """
    probs, targets = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    assert probs.shape == targets.shape, (probs.shape, targets.shape)
    flat_probs, flat_targets = (array.reshape(-1, array.shape[-1]) for array in (probs, targets))
    known = ~np.isnan(flat_targets).any(axis=1)
    if not known.any():
        raise InputError("none of the rows evaluated has a known class; evaluate on other rows")
    return flat_probs[known], flat_targets[known]


def weighted_balanced_accuracy(probs: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], float]:
    """Balanced accuracy as a function of (N,) example weights >= 0; NaN when fewer than two classes keep weight.

    Args:
        probs: (N, K) or (N, H, K).
        targets: the same shape, one-hot rows or NaN.
    """
    parts = int(np.prod(targets.shape[1:-1], dtype=np.int64))
    flat = targets.reshape(-1, targets.shape[-1])
    known = ~np.isnan(flat).any(axis=1)
    example = np.repeat(np.arange(len(targets)), parts)[known]
    truth = flat[known].argmax(axis=1)
    hits = probs.reshape(flat.shape)[known].argmax(axis=1) == truth
    num_classes = targets.shape[-1]

    def value(weights: np.ndarray) -> float:
        row_weights = weights[example]
        total = np.bincount(truth, row_weights, num_classes)
        right = np.bincount(truth, row_weights * hits, num_classes)
        there = total > 0
        return float((right[there] / total[there]).mean()) if there.sum() > 1 else float("nan")

    return value


def argmax_thresholds(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, method: str
) -> tuple[dict[str, float], tuple[str, ...]]:
    """No thresholds, and a note: of exclusive classes the most probable one is predicted."""
    return {}, ("one class of several: the most probable class is predicted, no thresholds",)


def _quadratic_kappa(truth: np.ndarray, guess: np.ndarray, num_classes: int) -> float:
    """1 - observed / expected disagreement with weights (i - j)^2; 0 when both are constant and equal in spread."""
    distance = (np.arange(num_classes)[:, None] - np.arange(num_classes)) ** 2
    observed = np.zeros((num_classes, num_classes))
    np.add.at(observed, (truth, guess), 1)
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / len(truth)
    disagreement = (distance * expected).sum()
    return float(1 - (distance * observed).sum() / disagreement) if disagreement > 0 else 0.0
