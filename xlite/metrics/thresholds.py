"""Per-label decision thresholds, chosen on validation."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from xlite.metrics.multilabel import check_probabilities, ranking_counts

DEFAULT_THRESHOLD = 0.5


def choose_thresholds(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, method: Literal["f1", "youden"]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The threshold that maximises F1, or Youden's J = sensitivity + specificity - 1, of each label by itself.

    Exact over all distinct scores. A threshold is halfway between two neighbouring scores (below the lowest score:
    halfway to 0), so that rounding does not flip a row; of equally good ones the highest. Predicted positive is
    `probability >= threshold`, compared in float64.

    Args:
        probs: (N, L) finite, in [0, 1].
        targets: (N, L) of 0, 1 or NaN (unknown).
        labels: the L names.
        method: what is maximised.

    Returns:
        label -> threshold in [0, 1], and notes naming the labels without a known positive or negative, which get 0.5.

    Raises:
        ValueError: a probability is not finite, or outside [0, 1]; the label is named.
    """
    probs, targets = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    assert probs.shape == targets.shape == (len(targets), len(labels)), (probs.shape, targets.shape, len(labels))
    check_probabilities(probs, labels)
    thresholds = dict.fromkeys(labels, DEFAULT_THRESHOLD)
    one_class = []
    for name, scores, target in zip(labels, probs.T, targets.T, strict=True):
        known = ~np.isnan(target)
        truth = target[known] == 1
        if truth.any() and not truth.all():
            thresholds[name] = _best_threshold(scores[known], truth, method)
        else:
            one_class.append(name)
    note = f"threshold {DEFAULT_THRESHOLD}, since no positive or no negative is known: {', '.join(one_class)}"
    return thresholds, (note,) if one_class else ()


def _best_threshold(scores: np.ndarray, truth: np.ndarray, method: Literal["f1", "youden"]) -> float:
    """For (N,) scores and bool truth with both classes."""
    distinct, true_positives, false_positives = ranking_counts(scores, truth)
    if method == "f1":
        merit = 2 * true_positives / (true_positives[-1] + true_positives + false_positives)
    else:  # J times positives times negatives: in integers, so that ties are ties
        merit = true_positives * false_positives[-1] - false_positives * true_positives[-1]
    best = int(np.argmax(merit))
    above, below = distinct[best], distinct[best + 1] if best + 1 < len(distinct) else 0.0
    middle = below + (above - below) / 2
    return float(middle if middle > below else above)  # neighbours without a number between them
