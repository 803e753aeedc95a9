"""ROC and precision-recall curves of each label, and the confusion matrix: few numbers, to be drawn later."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

MAX_POINTS = 200
NONE = "none of them"
"""Heads the row of examples without any positive label, and the column of those decided so."""


def curves(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], thresholds: Mapping[str, float], *, exclusive: bool
) -> dict[str, Any]:
    """JSON values: each label's curves, and the confusion of labels.

    Args:
        probs, targets: (..., L); NaN is unknown.
        thresholds: by label, of decisions; not read for `exclusive` classes, of which the most probable one counts.

    Returns:
        "labels": of each label with known positives and negatives `roc` (false and true positive rates) and `pr`
        (recall and precision), at most MAX_POINTS points each; "confusion": `rows` (true), `columns` (decided),
        `counts` and `totals`, the number of examples of each row. Independent labels count in each row and column that
        they are in, so counts of a row may add up to more than its total; only examples with all labels known count.
    """
    flat_probs, flat_targets = (np.asarray(array).reshape(-1, len(labels)) for array in (probs, targets))
    found = {}
    for name, column, target in zip(labels, flat_probs.T, flat_targets.T, strict=True):
        known = ~np.isnan(target)
        truth, p = target[known], column[known]
        if 0 < truth.sum() < len(truth):
            false, true, _ = roc_curve(truth, p)
            precision, recall, _ = precision_recall_curve(truth, p, drop_intermediate=True)  # ends at a made-up (0, 1)
            found[name] = {"roc": _thinned(false, true), "pr": _thinned(recall[-2::-1], precision[-2::-1])}
    whole = ~np.isnan(flat_targets).any(axis=1)
    probs, truth = flat_probs[whole], flat_targets[whole] == 1
    if exclusive:
        decided = np.eye(len(labels), dtype=bool)[probs.argmax(axis=1)]
        names = list(labels)
    else:
        decided = probs >= np.array([thresholds.get(name, 0.5) for name in labels])
        truth, decided = (np.column_stack([array, ~array.any(axis=1)]) for array in (truth, decided))
        names = [*labels, NONE]
    counts = truth.T.astype(np.int64) @ decided.astype(np.int64)
    confusion = {"rows": names, "columns": names, "counts": counts.tolist(), "totals": truth.sum(axis=0).tolist()}
    return {"labels": found, "confusion": confusion}


def _thinned(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """[x, y] with at most MAX_POINTS points, at even steps along the curve, both ends among them."""
    along = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS)))
    return [np.round(x[kept], 5).tolist(), np.round(y[kept], 5).tolist()]
