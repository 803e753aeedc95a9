"""From answers to decisions: a calibration fitted on validation, and thresholds of calibrated probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xlite.metrics.calibration import Calibration, calibration_metrics
from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.intervals import MetricIntervals
from xlite.metrics.multilabel import Evaluation
from xlite.metrics.wanted import ScoredRows, Wanted, wanted_thresholds
from xlite.promotion.judge import Judged
from xlite.storage.files import write_json
from xlite.tasks.target_spec import TargetSpec

Metrics = TypeVar("Metrics", Evaluation, MetricIntervals)
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
        num_models: how many ship; several are an ensemble, whose answers validation does not have.
    """

    target_spec: TargetSpec
    method: str
    calibration: Calibration | None
    thresholds: dict[str, float]
    by_label: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    validation: Judged
    cross_fitted: np.ndarray
    num_models: int

    def calibrated(self, part: Judged) -> Judged:
        """The part with calibrated answers, judged."""
        if self.calibration is None:
            return part
        answers = self.calibration.apply(part.answers)
        return replace(part, answers=answers, evaluation=self.target_spec.judge(answers, part.targets, part.labels))

    def decided(self, part: Judged) -> Judged:
        """The part with calibrated answers, judged also at the thresholds."""
        return self.calibrated(part).at_thresholds(self.target_spec, self.thresholds)

    def on_validation(self) -> Judged:
        """Validation, judged by calibrations and thresholds that were chosen, by this method, on other patients.

        A label's AUC, and all else that is of its ranks alone, is that of the answers as they are: one calibration
        changes no rank, but one for each fold, put together, would.
        """
        part = self.validation
        if self.calibration is not None:
            evaluation = self.target_spec.judge(self.cross_fitted, part.targets, part.labels)
            if not self.calibration.exclusive:
                evaluation = _with_ranks(evaluation, part.evaluation)
            part = replace(part, answers=self.cross_fitted, evaluation=evaluation)
        return part.cross_fitted(self.target_spec, self.method, estimate=self.num_models == 1)

    def validation_intervals(self, *, seed: int) -> MetricIntervals:
        """Of the metrics of `on_validation`, those without thresholds."""
        own = self.validation.intervals(self.target_spec, {}, seed=seed)
        if self.calibration is None or set(self.calibration.methods) == {"none"}:
            return own
        crossed = replace(self.validation, answers=self.cross_fitted).intervals(self.target_spec, {}, seed=seed)
        return crossed if self.calibration.exclusive else _with_ranks(crossed, own)

    def write(
        self, folder: Path, test: Judged, *, weights: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
        """Write thresholds.json, which has the calibration its thresholds are for: one file, replaced whole.

        Also reliability.json, the curves of both parts before calibration and after, unless answers are no
        probabilities.

        Args:
            test: as the models answered it.
            weights: the models' files and their SHA-256: what calibration and thresholds are for.

        Returns:
            What metrics.json says of calibration on validation (cross-fitted) and on test, and what a person is told.
        """
        values = {
            "method": self.method,
            "thresholds": self.thresholds,
            "labels": self.by_label,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "notes": list(self.notes),
            "weights": dict(weights),
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
            ece = [test[when]["scalars"].get("ece_macro", np.nan) for when in ("before", "after")]
            lines.append(f"{_described(self.calibration)}; ECE on test {ece[0]:.3f}, now {ece[1]:.3f}")
        return tuple(lines)


def _with_ranks(judged: Metrics, ranked: Metrics) -> Metrics:
    """`judged`, but for what is of each label's ranks alone, which is of `ranked`."""
    scalars = {name: ranked.scalars[name] for name in ("auc_macro", "pr_auc_macro") if name in ranked.scalars}
    per_label = {
        label: {**row, **{name: ranked.per_label[label][name] for name in ("auc", "pr_auc") if name in row}}
        for label, row in judged.per_label.items()
    }
    return replace(judged, scalars={**judged.scalars, **scalars}, per_label=per_label)


def _described(calibration: Calibration) -> str:
    methods = calibration.methods
    if calibration.exclusive:
        chosen = "none" if methods[0] == "none" else "one temperature"
        return f"Calibration: {chosen} for all {len(methods)} classes"
    counts = ", ".join(f"{methods.count(name)} {name}" for name in ("none", "temperature", "platt"))
    return f"Calibration of {len(methods)} labels: {counts}"


def choose_rule(
    method: str,
    val: Judged,
    target_spec: TargetSpec,
    held_out: Callable[[], Triple] | None,
    *,
    num_models: int,
    num_repeats: int,
) -> DecisionRule:
    """Calibration and thresholds, from validation; a wanted sensitivity or precision from held-out patients.

    Args:
        method: as `DecisionRule` has it.
        held_out: answers the held-out part, if the data has one; only asked where `method` needs it.
        num_models: how many ship, as an ensemble if several; `num_repeats` of them have answered each row of `val`.
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
            held = ScoredRows(apply(held_answers), targets, groups)
        rows = ScoredRows(answers, val.targets, val.groups)
        found, notes = wanted_thresholds(wanted, rows, held, val.labels, estimate=num_models == 1)
        thresholds = {label: one.threshold for label, one in found.items()}
        by_label = {label: one.to_json(method, wanted) for label, one in found.items()}
    notes += calibration.notes if calibration else ()
    mapped = calibration is not None and set(calibration.methods) != {"none"}
    unsure = any(row["basis"] != "guarantee" for row in by_label.values())
    if num_models > 1 and (mapped or unsure):
        notes += (_of_ensemble(mapped, unsure, num_models, num_repeats),)
    return DecisionRule(target_spec, method, calibration, thresholds, by_label, notes, val, crossed, num_models)


def _of_ensemble(mapped: bool, unsure: bool, num_models: int, num_repeats: int) -> str:
    """Why what is chosen for an ensemble is not quite its own: its models together have seen all of validation."""
    what = " and ".join(
        name for name, told in (("calibration", mapped), ("thresholds without a guarantee", unsure)) if told
    )
    by = "single models" if num_repeats == 1 else f"the mean answers of {num_repeats} models"
    return f"{what}: chosen on {by}; the ensemble of {num_models} models that ships answers less extremely"


def _before_and_after(part: Judged, after: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of calibration and the reliability curves of the part's own answers and of others."""
    both = {"before": part.answers, "after": after}
    measured = {when: calibration_metrics(answers, part.targets, part.labels) for when, answers in both.items()}
    return {when: values for when, (values, _) in measured.items()}, {
        when: rows for when, (_, rows) in measured.items()
    }
