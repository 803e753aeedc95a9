"""Metrics for exclusive classes and for ordered grades; the predicted class is the most probable one."""

from collections.abc import Sequence
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
    log_p = log_likelihood(probs, truth)
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
        observed = np.zeros((len(labels), len(labels)))
        np.add.at(observed, (truth, guess), 1)
        scalars["kappa_quadratic"] = float(quadratic_kappa(observed))
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


def argmax_thresholds(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, method: str
) -> tuple[dict[str, float], tuple[str, ...]]:
    """No thresholds, and a note: of exclusive classes the most probable one is predicted."""
    return {}, ("one class of several: the most probable class is predicted, no thresholds",)


def log_likelihood(probs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M,) logarithm of the probability (M, K) of each row's class (M,), bounded from below."""
    return np.log(np.clip(probs[np.arange(len(truth)), truth], _LEAST_PROBABILITY, None))


def quadratic_kappa(observed: np.ndarray) -> np.ndarray:
    """1 - observed / expected disagreement with weights (i - j)^2, of (..., K, K) counts of (truth, guess).

    0 where all rows have one class and all guesses are it, as where nothing is counted.
    """
    classes = np.arange(observed.shape[-1])
    distance = (classes[:, None] - classes) ** 2
    total = np.maximum(observed.sum(axis=(-2, -1), keepdims=True), 1)
    expected = observed.sum(axis=-1, keepdims=True) * observed.sum(axis=-2, keepdims=True) / total
    seen, by_chance = ((distance * counts).sum(axis=(-2, -1)) for counts in (observed, expected))
    return np.where(by_chance > 0, 1 - seen / np.where(by_chance > 0, by_chance, 1), 0.0)
