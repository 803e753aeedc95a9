"""From answers to decisions: a calibration fitted on validation, and thresholds of calibrated probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xlite.metrics.calibration import Calibration, calibration_metrics
from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.wanted import Answers, Wanted, wanted_thresholds
from xlite.promotion.judge import Judged
from xlite.storage.files import write_json
from xlite.tasks.target_spec import TargetSpec

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Answers, targets (N, L) and groups (N,)."""


@dataclass(frozen=True)
class DecisionRule:
    """How a promotion's answers become probabilities and decisions.

    Attributes:
        method: "f1", "youden", or e.g. "sensitivity=0.9".
        calibration: None for targets whose answers are no probabilities.
        thresholds: of calibrated probabilities, by label; {} for classes.
        by_label: what is known of each threshold.
        notes: on labels whose threshold or calibration is not what it could be.
        validation: the part that it was chosen on, as the models answered it.
        cross_fitted: validation's answers, each patient's by a calibration fitted on other patients.
    """

    target_spec: TargetSpec
    method: str
    calibration: Calibration | None
    thresholds: dict[str, float]
    by_label: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    validation: Judged
    cross_fitted: np.ndarray

    def calibrated(self, part: Judged) -> Judged:
        """The part with calibrated answers, judged."""
        if self.calibration is None:
            return part
        answers = self.calibration.apply(part.answers)
        return replace(part, answers=answers, evaluation=self.target_spec.judge(answers, part.targets, part.labels))

    def decided(self, part: Judged) -> Judged:
        """The part with calibrated answers, judged also at the thresholds."""
        return self.calibrated(part).at_thresholds(self.target_spec, self.thresholds)

    def write(self, folder: Path, test: Judged) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
        """Write thresholds.json, which has the calibration its thresholds are for: one file, replaced whole.

        Also reliability.json, the curves of both parts before calibration and after, unless answers are no
        probabilities.

        Args:
            test: as the models answered it.

        Returns:
            What metrics.json says of calibration on validation (cross-fitted) and on test, and what a person is told.
        """
        values = {
            "method": self.method,
            "thresholds": self.thresholds,
            "labels": self.by_label,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "notes": list(self.notes),
        }
        write_json(folder / "thresholds.json", values)
        if self.calibration is None:
            return {}, {}, self._lines({})
        val_metrics, val_curves = _before_and_after(self.validation, self.cross_fitted)
        test_metrics, test_curves = _before_and_after(test, self.calibration.apply(test.answers))
        write_json(folder / "reliability.json", {"validation": val_curves, "test": test_curves})
        return {"calibration": val_metrics}, {"calibration": test_metrics}, self._lines(test_metrics)

    def _lines(self, test: Mapping[str, Any]) -> tuple[str, ...]:
        lines = [f"Note: {note}" for note in self.notes]
        if sure := [
            f"{name} ({row['positives']})" for name, row in self.by_label.items() if row["basis"] == "guarantee"
        ]:
            lines.append(f"Guaranteed by held-out patients (so many positives), {self.method}: {', '.join(sure)}")
        if self.calibration is not None:
            methods = self.calibration.methods
            counts = ", ".join(f"{methods.count(name)} {name}" for name in ("none", "temperature", "platt"))
            ece = [test[when]["scalars"].get("ece_macro", np.nan) for when in ("before", "after")]
            lines.append(f"Calibration of {len(methods)} labels: {counts}; ECE on test {ece[0]:.3f}, now {ece[1]:.3f}")
        return tuple(lines)


def choose_rule(
    method: str, val: Judged, target_spec: TargetSpec, held_out: Callable[[], Triple] | None
) -> DecisionRule:
    """Calibration and thresholds, from validation; a wanted sensitivity or precision from held-out patients.

    Args:
        method: as `DecisionRule` has it.
        held_out: answers the held-out part, if the data has one; only asked where `method` needs it.
    """
    calibration, crossed = None, val.answers
    if target_spec.answers_are is not None:
        exclusive = target_spec.answers_are == "classes"
        calibration, crossed = fit_calibration(val.answers, val.targets, val.labels, val.groups, exclusive=exclusive)
    apply = calibration.apply if calibration else np.asarray
    answers, wanted = apply(val.answers), Wanted.named(method)
    if wanted is None:
        thresholds, notes = target_spec.choose_thresholds(answers, val.targets, val.labels, method=method)
        of_validation = {"method": method, "target": None, "basis": "observed"}
        by_label = {label: {"threshold": value, **of_validation} for label, value in thresholds.items()}
    else:
        assert target_spec.answers_are == "labels", target_spec.kind
        held = None
        if held_out:
            held_answers, targets, groups = held_out()
            held = Answers(apply(held_answers), targets, groups)
        found, notes = wanted_thresholds(wanted, Answers(answers, val.targets, val.groups), held, val.labels)
        thresholds = {label: one.threshold for label, one in found.items()}
        by_label = {label: one.to_json(method, wanted) for label, one in found.items()}
    notes += calibration.notes if calibration else ()
    return DecisionRule(target_spec, method, calibration, thresholds, by_label, notes, val, crossed)


def _before_and_after(part: Judged, after: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of calibration and the reliability curves of the part's own answers and of others."""
    both = {"before": part.answers, "after": after}
    measured = {when: calibration_metrics(answers, part.targets, part.labels) for when, answers in both.items()}
    return {when: values for when, (values, _) in measured.items()}, {
        when: rows for when, (_, rows) in measured.items()
    }
