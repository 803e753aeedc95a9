"""F1, precision and recall of decisions at chosen thresholds, cross-fitted where the same rows choose and judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from xlite.metrics.multilabel import Evaluation, f1_precision_recall

NUM_FOLDS = 5
ChooseThresholds = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, float]]
"""((M, L) probabilities, (M, L) targets, (M,) groups) -> threshold by label."""


def cross_fitted(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], groups: np.ndarray, choose: ChooseThresholds
) -> np.ndarray | None:
    """(N, L) bool decisions, each at a threshold chosen on the rows of other folds.

    Folds are those of `fold_of_rows`; a single group gets thresholds chosen on itself.

    Args:
        probs: (N, L) in [0, 1].
        targets: (N, L) of 0, 1 or NaN (unknown).
        labels: the L names.
        groups: (N,) the group of each row.

    Returns:
        None if `choose` returns no thresholds.
    """
    fold_of_row = fold_of_rows(groups)
    decisions = np.zeros(probs.shape, dtype=bool)
    for fold in np.unique(fold_of_row):
        judged = fold_of_row == fold
        chosen_on = judged if judged.all() else ~judged
        thresholds = choose(probs[chosen_on], targets[chosen_on], groups[chosen_on])
        if not thresholds:
            return None
        decisions[judged] = decide(probs[judged], thresholds, labels)
    return decisions


def fold_of_rows(groups: np.ndarray) -> np.ndarray:
    """(N,) number of each row's fold.

    Groups (patients) are assigned to NUM_FOLDS folds in turn, in the order of their names, without randomness. With
    fewer groups than folds each group is a fold.

    Args:
        groups: (N,) the group of each row.
    """
    names, group_of_row = np.unique(groups, return_inverse=True)
    return group_of_row % min(NUM_FOLDS, len(names))


def decide(probs: np.ndarray, thresholds: Mapping[str, float], labels: Sequence[str]) -> np.ndarray:
    """(N, L) bool: predicted positive from each label's threshold on, compared in float64."""
    limits = np.array([thresholds[label] for label in labels], dtype=np.float64)
    return np.asarray(probs, dtype=np.float64) >= limits


def decision_metrics(
    decisions: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Macro averages {"f1_macro", "precision_macro", "recall_macro"} and the same by label, over the known targets.

    As in `evaluate_multilabel`: a label without a known positive has none of the three, one of a single class is left
    out of the averages, and precision is 0 where nothing is predicted positive.

    Args:
        decisions: (N, L) bool.
        targets: (N, L) of 0, 1 or NaN (unknown).
    """
    known, truth = ~np.isnan(targets), targets == 1
    predicted = decisions & known
    counts = np.stack([mask.sum(axis=0) for mask in (known, truth, predicted, predicted & truth)]).T.tolist()
    per_label = {
        name: f1_precision_recall(positives, predicted, hits) if positives else {}
        for name, (_, positives, predicted, hits) in zip(labels, counts, strict=True)
    }
    averaged = [per_label[name] for name, row in zip(labels, counts, strict=True) if 0 < row[1] < row[0]]
    names = averaged[0] if averaged else ()
    macro = {f"{name}_macro": float(np.mean([row[name] for row in averaged])) for name in names}
    return macro, per_label


def with_decisions(
    evaluation: Evaluation, decisions: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> Evaluation:
    """The evaluation with the metrics of these decisions beside those at 0.5.

    Adds the scalars "f1_macro_at_thresholds" (also of precision and recall), and for each label "f1_at_thresholds" and
    the share of rows decided positive, "decided_positive_rate".

    Args:
        decisions: (N, L) bool.
        targets: (N, L) of 0, 1 or NaN (unknown).
    """
    macro, per_label = decision_metrics(decisions, targets, labels)
    known = ~np.isnan(targets)
    shares = (decisions & known).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    rows = {
        name: {
            **evaluation.per_label[name],
            **{f"{metric}_at_thresholds": value for metric, value in per_label[name].items()},
            **({} if np.isnan(share) else {"decided_positive_rate": float(share)}),
        }
        for name, share in zip(labels, shares, strict=True)
    }
    scalars = evaluation.scalars | {f"{name}_at_thresholds": value for name, value in macro.items()}
    return replace(evaluation, scalars=scalars, per_label=rows)
