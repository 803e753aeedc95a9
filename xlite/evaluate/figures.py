"""What a model's answers on other data are worth: metrics with intervals beside the study's own, calibration, shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlite.evaluate.package import PromotedModel
from xlite.evaluate.shift import Shift, shift_of
from xlite.evaluate.specificity import specificity
from xlite.evaluate.subgroups import JudgedRows
from xlite.metrics.calibration import calibration_metrics
from xlite.metrics.decisions import decide
from xlite.metrics.resampling import Interval
from xlite.tasks.target_spec import TargetSpec


@dataclass(frozen=True)
class Figure:
    """A metric here, and on the study's test part (None: not known)."""

    value: float
    interval: Interval | None
    study: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; a null interval: none is claimed, "note" says why."""
        found = self.interval
        ends = None if found is None or found.low is None else [found.low, found.high]
        note = found.note if found is not None else ""
        return {"value": self.value, "interval_95": ends, **({"note": note} if note else {}), "study": self.study}


@dataclass(frozen=True)
class Figures:
    """All figures of one evaluation.

    Attributes:
        scalars: averages by name; per_label: by label and name, as `Evaluation` has them, with "specificity" and, where
            answers are probabilities, "ece" and "brier".
        curves: label -> reliability curve.
        shift: label -> shift of its scores.
        notes: why labels are left out of averages.
    """

    scalars: Mapping[str, Figure]
    per_label: Mapping[str, Mapping[str, Figure]]
    curves: Mapping[str, list[dict[str, float]]]
    shift: Mapping[str, Shift]
    notes: tuple[str, ...]


def decisions_of(
    answers: np.ndarray, labels: tuple[str, ...], thresholds: Mapping[str, float], target_spec: TargetSpec
) -> np.ndarray:
    """(N, ..., L) bool: at the package's thresholds, or the most probable class."""
    if target_spec.answers_are == "classes":
        return np.eye(len(labels), dtype=bool)[answers.argmax(axis=-1)]
    return decide(answers, thresholds or dict.fromkeys(labels, 0.5), labels)


def figures_of(
    rows: JudgedRows, thresholds: Mapping[str, float], target_spec: TargetSpec, package: PromotedModel, *, seed: int = 0
) -> Figures:
    """Judge the rows.

    Raises:
        InputError: no label has both classes, or fewer than two classes occur.
    """
    answers, targets, labels = rows.answers, rows.targets, rows.labels
    evaluation = target_spec.judge(answers, targets, labels)
    evaluation = target_spec.at_thresholds(evaluation, answers, targets, labels, thresholds=thresholds)
    intervals = target_spec.intervals(answers, targets, labels, groups=rows.groups, thresholds=thresholds, seed=seed)
    averaged = [label for label in evaluation.per_label if label not in evaluation.undefined]
    scalars = {
        name: Figure(value, intervals.scalars.get(name), _study_average(package, name, averaged))
        for name, value in evaluation.scalars.items()
    }
    per_label = {
        label: {
            name: Figure(value, intervals.per_label.get(label, {}).get(name), package.of_test(name, label))
            for name, value in values.items()
        }
        for label, values in evaluation.per_label.items()
    }
    curves: Mapping[str, list[dict[str, float]]] = {}
    shift: Mapping[str, Shift] = {}
    if target_spec.answers_are is not None:
        macro, by_label, found = specificity(rows.decisions, targets, labels, rows.groups, seed=seed)
        study = _mean([_study_specificity(package, label) for label in averaged])
        scalars |= {name: Figure(value, found.scalars.get(name), study) for name, value in macro.items()}
        for label, value in by_label.items():
            study = _study_specificity(package, label)
            per_label[label]["specificity"] = Figure(value, found.per_label[label].get("specificity"), study)
        calibration, curves = calibration_metrics(answers, targets, labels)
        scalars |= {
            name: Figure(value, None, _study_average(package, name, averaged))
            for name, value in calibration["scalars"].items()
        }
        for label, values in calibration["per_label"].items():
            per_label[label] |= {
                name: Figure(value, None, package.of_test(name, label)) for name, value in values.items()
            }
        shift = shift_of(_scored(answers, targets), labels, package.curves)
    return Figures(scalars, per_label, curves, shift, evaluation.notes)


def _study_average(package: PromotedModel, name: str, labels: Sequence[str]) -> float | None:
    """A scalar on the study's test part; of macro averages that over the same labels as here."""
    if "_macro" not in name:
        return package.of_test(name)
    return _mean([package.of_test(name.replace("_macro", ""), label) for label in labels])


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _study_specificity(package: PromotedModel, label: str) -> float | None:
    """1 - false positives / negatives on the study's test part, from what metrics.json counts."""
    values = package.test.get("per_label", {}).get(label, {})
    rate = values.get("decided_positive_rate", values.get("predicted_positive_rate"))
    recall = values.get("recall_at_thresholds", values.get("recall"))
    known, positives = values.get("num_known", 0), values.get("num_positive", 0)
    if rate is None or (positives and recall is None) or known <= positives:
        return None
    return float(1 - (rate * known - (recall or 0) * positives) / (known - positives))


def _scored(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(M, L) scores of examples with a known label; NaN where this label is not known, unless the data lacks it.

    The study's scores are of known labels, too.
    """
    known = ~np.isnan(targets)
    used = known.any(axis=-1)
    known = known[used]
    return np.where(known | ~known.any(axis=0), answers[used], np.nan)
