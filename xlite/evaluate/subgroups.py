"""A model by subgroups: each one's figures (fairlearn's MetricFrame) with intervals, and differences between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from xlite.metrics.differences import Difference, holm, paired_difference
from xlite.metrics.intervals import LEAST_GROUPS, LEAST_ROWS
from xlite.metrics.resampling import Interval, Weighted
from xlite.tasks.target_spec import TargetSpec

ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """What is judged: answers, decisions and targets (N, ..., L), groups (N,)."""

    answers: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Subgroup:
    """One value of a column.

    Attributes:
        images, patients: how many.
        score: of the labels with enough positives and negatives here, None where there is none; with its interval.
        labels: those labels.
        difference: this score minus that of the largest subgroup, on the labels with enough in both; None for the
            largest one, or where no label has.
        p: of the difference, with Holm's correction for the column's subgroups.
        per_label: label -> count, positives, auc, sensitivity, specificity, precision, f1.
    """

    images: int
    patients: int
    score: float | None
    interval: Interval
    labels: tuple[str, ...]
    difference: Difference | None
    p: float | None
    per_label: Mapping[str, Mapping[str, float]]

    @property
    def differs(self) -> bool:
        """Whether chance alone would make such a difference in less than one of 20 cases."""
        return self.p is not None and self.p < ALPHA


def subgroups_of(
    rows: JudgedRows, values: np.ndarray, target_spec: TargetSpec, *, seed: int = 0
) -> dict[str, Subgroup]:
    """The figures of each value of a column, the largest subgroup first; {} where none is known.

    Args:
        values: (N,) unicode; "" belongs to none.
    """
    names, counts = np.unique(values[values != ""], return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")].tolist()
    if not ordered:
        return {}
    masks = {name: values == name for name in ordered}
    enough = {name: _enough(rows, mask, target_spec) for name, mask in masks.items()}
    largest = ordered[0]
    differences = {
        name: _difference(rows, masks[name], masks[largest], enough[name] & enough[largest], target_spec, seed)
        for name in ordered[1:]
    }
    tested = {name: found for name, found in differences.items() if found is not None}
    adjusted = dict(zip(tested, holm([found.p for found in tested.values()]), strict=True))
    per_label = label_figures(rows, values) if target_spec.answers_are else {name: {} for name in ordered}
    out = {}
    for name, mask in masks.items():
        score, interval = _score(rows, mask, enough[name], target_spec, seed)
        labels = tuple(label for label, has in zip(rows.labels, enough[name], strict=True) if has)
        num, patients = int(mask.sum()), len(np.unique(rows.groups[mask]))
        own = (tested.get(name), adjusted.get(name))
        out[name] = Subgroup(num, patients, score, interval, labels, *own, per_label[name])
    return out


def label_figures(rows: JudgedRows, values: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """{subgroup: {label: figures}} over the known targets; what a subgroup leaves undefined is absent."""
    from fairlearn.metrics import MetricFrame  # a second, which --help and other commands do without

    out: dict[str, dict[str, dict[str, float]]] = {}
    parts = int(np.prod(rows.targets.shape[1:-1], dtype=np.int64))
    flat = [array.reshape(-1, len(rows.labels)).T for array in (rows.answers, rows.decisions, rows.targets)]
    of_rows = np.repeat(values, parts)
    for label, scores, decided, truth in zip(rows.labels, *flat, strict=True):
        used = ~np.isnan(truth)
        if not used.any():
            continue
        frame = MetricFrame(
            metrics=dict(_FIGURES),
            y_true=truth[used].astype(int),
            y_pred=decided[used].astype(int),
            sensitive_features=of_rows[used],
            sample_params={"auc": {"scores": scores[used]}},
        )
        for name, figures in frame.by_group.iterrows():
            out.setdefault(str(name), {})[label] = {
                figure: int(value) if figure in _COUNTS else float(value)
                for figure, value in figures.items()
                if np.isfinite(value)
            }
    return {name: out.get(name, {}) for name in np.unique(values[values != ""]).tolist()}


def _count(truth: Sequence[int], decided: Sequence[int]) -> int:
    return len(truth)


def _positives(truth: Sequence[int], decided: Sequence[int]) -> int:
    return int(np.sum(truth))


def _auc(truth: Sequence[int], decided: Sequence[int], *, scores: np.ndarray) -> float:
    return roc_auc_score(truth, scores) if 0 < np.sum(truth) < len(truth) else float("nan")


def _sensitivity(truth: Sequence[int], decided: Sequence[int]) -> float:
    return recall_score(truth, decided, zero_division=np.nan)


def _specificity(truth: Sequence[int], decided: Sequence[int]) -> float:
    return recall_score(truth, decided, pos_label=0, zero_division=np.nan)


def _precision(truth: Sequence[int], decided: Sequence[int]) -> float:
    return precision_score(truth, decided, zero_division=0.0) if np.any(truth) else float("nan")


def _f1(truth: Sequence[int], decided: Sequence[int]) -> float:
    return f1_score(truth, decided, zero_division=0.0) if np.any(truth) else float("nan")


_FIGURES = {
    **{"count": _count, "positives": _positives, "auc": _auc, "sensitivity": _sensitivity},
    **{"specificity": _specificity, "precision": _precision, "f1": _f1},
}
_COUNTS = ("count", "positives")


def _enough(rows: JudgedRows, mask: np.ndarray, target_spec: TargetSpec) -> np.ndarray:
    """(L,) bool: the subgroup has positives and negatives enough for an interval; of own kinds, images and patients."""
    targets, groups = rows.targets[mask], rows.groups[mask]
    if target_spec.answers_are is None:
        few = len(groups) < LEAST_ROWS or len(np.unique(groups)) < LEAST_GROUPS
        return np.full(len(rows.labels), not few)
    parts = tuple(range(1, targets.ndim - 1))
    return np.array(
        [
            all(
                count[:, label].sum() >= LEAST_ROWS and len(np.unique(groups[count[:, label] > 0])) >= LEAST_GROUPS
                for count in ((targets == value).sum(axis=parts) for value in (0, 1))
            )
            for label in range(len(rows.labels))
        ]
    )


def _restricted(rows: JudgedRows, labels: np.ndarray, target_spec: TargetSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """Answers and targets of these labels (L,) bool; None if they are too few for a score."""
    if target_spec.answers_are is None:
        return (rows.answers, rows.targets) if labels.any() else None
    if target_spec.answers_are == "labels":
        return (rows.answers[..., labels], rows.targets[..., labels]) if labels.any() else None
    if labels.sum() < 2:
        return None
    other = (rows.targets[..., ~labels] == 1).any(axis=-1, keepdims=True)
    return rows.answers, np.where(other, np.nan, rows.targets)


def _score(
    rows: JudgedRows, mask: np.ndarray, labels: np.ndarray, target_spec: TargetSpec, seed: int
) -> tuple[float | None, Interval]:
    restricted = _restricted(rows, labels, target_spec)
    if restricted is None:
        return None, Interval(None, None, "too few")
    answers, targets = (array[mask] for array in restricted)
    names = [label for label, has in zip(rows.labels, labels, strict=True) if has]
    named = names if target_spec.answers_are == "labels" else rows.labels
    intervals = target_spec.intervals(
        answers, targets, named, groups=rows.groups[mask], thresholds={}, seed=seed
    ).scalars[target_spec.score]
    return float(target_spec.resampled_score(answers, targets)(np.ones(len(answers)))), intervals


def _difference(
    rows: JudgedRows, mask: np.ndarray, other: np.ndarray, labels: np.ndarray, target_spec: TargetSpec, seed: int
) -> Difference | None:
    """The score under `mask` minus that under `other`, patients drawn once for both; None if no label has enough."""
    restricted = _restricted(rows, labels, target_spec)
    if restricted is None:
        return None
    score = target_spec.resampled_score(*restricted)

    def within(these: np.ndarray) -> Weighted:
        return lambda weights: score(weights * these)

    return paired_difference([within(mask)], [within(other)], rows.groups, seed=seed)


def to_json(found: Mapping[str, Subgroup]) -> dict[str, Any]:
    """JSON values of a column's subgroups."""
    return {
        name: {
            "images": one.images,
            "patients": one.patients,
            "score": one.score,
            "interval_95": None if one.interval.low is None else [one.interval.low, one.interval.high],
            "note": one.interval.note,
            "labels": list(one.labels),
            "difference": None if one.difference is None else vars(one.difference) | {"p": one.p},
            "per_label": {label: dict(figures) for label, figures in one.per_label.items()},
        }
        for name, one in found.items()
    }
