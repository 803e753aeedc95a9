"""Multi-label metrics, averaged and per label; unknown targets are masked, undefined labels named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xlite.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one set of predictions.

    Attributes:
        scalars: averaged metrics by name; one that is undefined is absent.
        per_label: label -> metrics and counts by name; one that is undefined is absent.
        notes: one line per reason why labels were left out.
        undefined: the labels with one class only, left out of every macro average.
    """

    scalars: dict[str, float]
    per_label: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    undefined: tuple[str, ...]

    @property
    def dead_labels(self) -> "DeadLabels | None":
        """The labels that occur and get the same decision in every row; None if there are none."""
        return find_dead_labels(self.scalars, self.per_label)


@dataclass(frozen=True)
class DeadLabels:
    """Labels that occur and get the same decision in every row: never predicted, or always.

    Attributes:
        names: of these labels, at least one.
        num_labels: labels that occur; for exclusive classes, all classes.
        exclusive: whether they are exclusive classes.
    """

    names: tuple[str, ...]
    num_labels: int
    exclusive: bool

    @property
    def collapsed(self) -> bool:
        """Whether predictions have collapsed: a class is never predicted, or more than half of the labels."""
        return self.exclusive or 2 * len(self.names) > self.num_labels

    @property
    def finding(self) -> str:
        """The finding in words, without the names."""
        share = f"{len(self.names)} of {self.num_labels}"
        what = "classes never predicted" if self.exclusive else "labels are decided alike for every image"
        return f"predictions have collapsed: {share} {what}" if self.collapsed else f"{share} {what}"

    @property
    def note(self) -> str:
        """One line: the finding and the names."""
        return f"{self.finding}: {', '.join(self.names)}"


def evaluate_multilabel(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], *, threshold: float | np.ndarray = 0.5
) -> Evaluation:
    """Every metric of `probs` against the known `targets`.

    Macro averages run over the labels with both classes, micro averages and Hamming loss over all known entries.
    Precision and F1 are 0 where nothing is predicted positive. PR-AUC is the average precision (a step sum, not a
    trapezoid). `label_ranking_ap` and `coverage` use only the rows whose labels are all known, one at least positive.

    Args:
        probs: (N, L) in [0, 1].
        targets: (N, L) of 0, 1 or NaN (unknown).
        labels: the L names.
        threshold: predicted positive from here on, compared in float64; one for all, or (L,).

    Raises:
        ValueError: a probability is not finite, or outside [0, 1]; the label is named.
        InputError: no label has both a positive and a negative.
    """
    probs, targets = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    check_probabilities(probs, labels)
    known = ~np.isnan(targets)
    truth = targets == 1
    predicted = (probs >= threshold) & known
    evaluation = evaluate_labels(probs, predicted, targets, labels)
    scalars = {**evaluation.scalars, "hamming": float((predicted != truth)[known].mean())}
    complete = known.all(axis=1) & truth.any(axis=1)
    if complete.any():
        by_row = row_ranking(probs[complete], truth[complete])
        scalars |= {
            name: float(rows.mean()) for name, rows in zip(("label_ranking_ap", "coverage"), by_row, strict=True)
        }
    return replace(evaluation, scalars=scalars)


def evaluate_labels(probs: np.ndarray, predicted: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Evaluation:
    """The metrics of each label, and their macro and micro averages; see `evaluate_multilabel`.

    Args:
        probs: (N, L) float64.
        predicted: (N, L) bool, False where the target is unknown.

    Raises:
        InputError: no label has both a positive and a negative.
    """
    assert probs.shape == targets.shape == (len(targets), len(labels)), (probs.shape, targets.shape, len(labels))
    known = ~np.isnan(targets)
    truth = targets == 1
    counts = np.stack([mask.sum(axis=0) for mask in (known, truth, predicted, predicted & truth)])
    defined = (counts[1] > 0) & (counts[1] < counts[0])
    if not defined.any():
        raise InputError(
            f"no label has both a positive and a negative among the {len(targets)} rows evaluated; "
            "evaluate on more rows or another split"
        )
    per_label = {name: _label_metrics(*column) for name, column in zip(labels, counts.T.tolist(), strict=True)}
    columns = [_descending(probs[rows, i], truth[rows, i], kind="quicksort") for i, rows in enumerate(known.T)]
    for i in np.flatnonzero(defined).tolist():
        per_label[labels[i]] |= _ranking_metrics(*columns[i])
    undefined = tuple(name for name, is_defined in zip(labels, defined, strict=True) if not is_defined)
    averaged = [values for name, values in per_label.items() if name not in undefined]
    scores, hits = map(np.concatenate, zip(*columns, strict=True))
    together = _descending(scores, hits, kind="stable")  # which merges runs that are sorted
    micro = _ranking_metrics(*together) | f1_precision_recall(*counts[1:].sum(axis=1).tolist())
    scalars = {f"{name}_macro": float(np.mean([values[name] for values in averaged])) for name in micro}
    scalars |= {f"{name}_micro": value for name, value in micro.items()}
    return Evaluation(scalars, per_label, _notes(per_label, undefined), undefined)


def check_probabilities(probs: np.ndarray, labels: Sequence[str]) -> None:
    """Raises ValueError, naming label and row, when a (N, L) probability is not finite or outside [0, 1]."""
    for problem, wrong in (("not finite", ~np.isfinite(probs)), ("outside [0, 1]", (probs < 0) | (probs > 1))):
        if wrong.any():
            row, label = np.argwhere(wrong)[0].tolist()
            raise ValueError(f"prediction of {labels[label]!r} in row {row} is {problem}: {probs[row, label]}")


def ranking_counts(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores, descending, with the true and false positives at or above each: (K,) float, int64, int64.

    Args:
        scores: (N,) float, N >= 1.
        truth: (N,) bool.
    """
    return _counts(*_descending(scores, truth, kind="quicksort"))


def find_dead_labels(
    scalars: Mapping[str, float | None], per_label: Mapping[str, Mapping[str, float | None]]
) -> DeadLabels | None:
    """The labels that have a positive but get the same decision in every row, in label order; None if there are none.

    If thresholds were chosen, their decisions count: scores that rank well may all be below 0.5. Otherwise a label is
    dead that is never predicted at 0.5, or by argmax.

    Args:
        scalars, per_label: as in `Evaluation`; exclusive classes have a balanced accuracy.
    """
    present = [name for name, values in per_label.items() if values.get("num_positive")]
    dead = tuple(name for name in present if _is_dead(per_label[name]))
    exclusive = "balanced_accuracy" in scalars
    return DeadLabels(dead, len(per_label) if exclusive else len(present), exclusive) if dead else None


def _is_dead(values: Mapping[str, float | None]) -> bool:
    decided = values.get("decided_positive_rate")
    return decided in (0, 1) if decided is not None else values.get("predicted_positive_rate") == 0


def _label_metrics(known: int, positives: int, predicted: int, hits: int) -> dict[str, float]:
    """Counts of one label, and the metrics that need no more."""
    values: dict[str, float] = {"num_positive": positives, "num_known": known}
    if known:
        values |= {"prevalence": positives / known, "predicted_positive_rate": predicted / known}
    return values | (f1_precision_recall(positives, predicted, hits) if positives else {})


def f1_precision_recall(positives: int, predicted: int, hits: int) -> dict[str, float]:
    """Of at least one positive; precision is 0 if nothing is predicted positive."""
    f1, precision = 2 * hits / (predicted + positives), hits / max(predicted, 1)
    return {"f1": f1, "precision": precision, "recall": hits / positives}


def _descending(
    scores: np.ndarray, truth: np.ndarray, *, kind: Literal["quicksort", "stable"]
) -> tuple[np.ndarray, np.ndarray]:
    """Both in the order of descending scores; sorting costs more than all else here."""
    order = np.argsort(-scores, kind=kind)
    return scores[order], truth[order]


def _counts(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`ranking_counts` of descending scores."""
    ends = ends_of_ties(scores)
    true_positives = np.cumsum(truth)[ends]
    return scores[ends], true_positives, ends + 1 - true_positives


def _ranking_metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """ROC-AUC (ties count half) and average precision, for (N,) descending scores with both classes."""
    _, true_positives, false_positives = _counts(scores, truth)
    precision = true_positives / (true_positives + false_positives)
    average_precision = np.diff(true_positives, prepend=0) @ precision / true_positives[-1]
    return {"auc": _area(true_positives, false_positives), "pr_auc": float(average_precision)}


def _area(true_positives: np.ndarray, false_positives: np.ndarray) -> float:
    """Trapezoid area under the ROC curve of cumulative counts; NaN with one class only."""
    if len(true_positives) == 0 or true_positives[-1] == 0 or false_positives[-1] == 0:
        return float("nan")
    heights = true_positives + np.append(0.0, true_positives[:-1])
    return float(heights @ np.diff(false_positives, prepend=0) / (2.0 * true_positives[-1] * false_positives[-1]))


def ends_of_ties(sorted_scores: np.ndarray) -> np.ndarray:
    """Position of the last member of each run of equal scores."""
    return np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))[: len(sorted_scores)]


def row_ranking(probs: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) label-ranking average precision and coverage error of each row, by scikit-learn's definitions.

    Args:
        probs: (N, L).
        truth: (N, L) bool, with a positive in each row.
    """
    total = np.zeros(len(probs))
    for i, positive in enumerate(truth.T):
        above = probs[positive] >= probs[positive][:, [i]]
        total[positive] += (above & truth[positive]).sum(axis=1) / above.sum(axis=1)
    least = np.where(truth, probs, np.inf).min(axis=1, keepdims=True)
    return total / truth.sum(axis=1), (probs >= least).sum(axis=1)


def _notes(per_label: dict[str, dict[str, float]], undefined: tuple[str, ...]) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for name in undefined:
        known, positives = per_label[name]["num_known"], per_label[name]["num_positive"]
        reason = "no known value" if known == 0 else "no positive" if positives == 0 else "no negative"
        by_reason.setdefault(reason, []).append(name)
    return tuple(f"left out of macro averages, {reason}: {', '.join(names)}" for reason, names in by_reason.items())
