"""Validation of a promotion: a row counts once, and nothing that is judged helped to choose what it is judged by."""

import numpy as np
import pytest
from scipy.special import expit

from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.decisions import decide, decision_metrics, fold_of_rows
from xlite.metrics.wanted import ScoredRows, Wanted, wanted_thresholds
from xlite.promotion.decide import choose_rule
from xlite.promotion.judge import Judged, by_repeat, mean_over
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL

NUM, LABELS = 240, ("a", "b")


def judged(positions, *, seed, slope=1.0, quality=1.0, spec=MULTILABEL):
    """Answers to the rows at these positions of one data set; two of a patient."""
    rng = np.random.default_rng(0)
    targets = (rng.random((NUM, 2)) < 0.3).astype(np.float32)
    if spec is MULTICLASS:
        targets[:, 1] = 1 - targets[:, 0]
    noise = rng.normal(size=(NUM, 2)) + np.random.default_rng(seed).normal(size=(NUM, 2))
    logits = slope * (quality * (2 * targets - 1) + noise)
    answers = expit(logits) if spec is MULTILABEL else spec.probabilities(logits)
    answers, targets, groups = answers[positions], targets[positions], positions // 2
    return Judged(answers, targets, groups, LABELS, spec.judge(answers, targets, LABELS), positions)


def halves(seed):
    """The rows dealt into two folds of whole patients, anew with each seed."""
    first = np.isin(np.arange(NUM) // 2, np.random.default_rng(seed).permutation(NUM // 2)[: NUM // 4])
    return [judged(np.flatnonzero(own), seed=seed) for own in (first, ~first)]


def test_with_repeats_a_row_counts_once_with_its_mean_answer():
    parts = [part for repeat in range(3) for part in halves(repeat)]
    repeats = by_repeat(parts, [0, 0, 1, 1, 2, 2], MULTILABEL)
    rows = np.arange(NUM)
    expected = np.mean([judged(rows, seed=seed).answers for seed in range(3)], axis=0)
    mean = mean_over(repeats, MULTILABEL)
    np.testing.assert_array_equal(mean.positions, rows)
    np.testing.assert_allclose(mean.answers, expected)
    np.testing.assert_array_equal(mean.targets, judged(rows, seed=0).targets)
    assert mean.evaluation.scalars == MULTILABEL.judge(mean.answers, mean.targets, LABELS).scalars
    interval = mean.intervals(MULTILABEL, {}, seed=0).scalars["auc_macro"]
    assert interval.low < mean.evaluation.scalars["auc_macro"] < interval.high


def test_repeats_that_answer_alike_and_well_know_no_more_than_one():
    once = mean_over([judged(np.arange(NUM), seed=0, quality=9)], MULTILABEL)
    orders = [np.random.default_rng(number).permutation(NUM) for number in range(10)]
    often = mean_over([judged(order, seed=0, quality=9) for order in orders], MULTILABEL)
    one, ten = (each.intervals(MULTILABEL, {}, seed=0).scalars["auc_macro"] for each in (once, often))
    assert once.evaluation.scalars["auc_macro"] == 1.0 and one.low < 0.99
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high), abs=1e-6)


@pytest.mark.parametrize("method", ["f1", "youden", "sensitivity=0.9", "precision=0.6"])
@pytest.mark.parametrize("num_models", [1, 5])
def test_validation_is_judged_by_what_other_patients_chose_and_by_the_method_that_was_asked_for(method, num_models):
    val, wanted = judged(np.arange(NUM), seed=0, slope=4.0), Wanted.named(method)
    rule = choose_rule(method, val, MULTILABEL, None, num_models=num_models, num_repeats=1)
    on_validation = rule.on_validation()
    _, crossed = fit_calibration(val.answers, val.targets, LABELS, val.groups, exclusive=False)
    assert not np.allclose(crossed, val.answers)
    np.testing.assert_array_equal(on_validation.answers, crossed)
    fold, decisions = fold_of_rows(val.groups), np.zeros((NUM, 2), dtype=bool)
    for number in np.unique(fold):
        others, own = fold != number, fold == number
        rows = ScoredRows(crossed[others], val.targets[others], val.groups[others])
        if wanted is None:
            chosen, _ = MULTILABEL.choose_thresholds(rows.probs, rows.targets, LABELS, method=method)
        else:
            found, _ = wanted_thresholds(wanted, rows, None, LABELS, estimate=num_models == 1)
            chosen = {label: one.threshold for label, one in found.items()}
        decisions[own] = decide(crossed[own], chosen, LABELS)
    expected, _ = decision_metrics(decisions, val.targets, LABELS)
    shown = on_validation.evaluation.scalars
    assert {name: shown[f"{name}_at_thresholds"] for name in expected} == pytest.approx(expected)
    whole = MULTILABEL.judge(crossed, val.targets, LABELS)
    ranks = {name: val.evaluation.scalars[name] for name in ("auc_macro", "pr_auc_macro")}
    assert (whole.scalars | ranks).items() <= shown.items() and whole.scalars["f1_macro"] == shown["f1_macro"]
    assert whole.scalars["auc_macro"] != ranks["auc_macro"]  # each fold's answers are mapped otherwise
    intervals = rule.validation_intervals(seed=0)
    assert intervals.scalars["auc_macro"] == val.intervals(MULTILABEL, {}, seed=0).scalars["auc_macro"]
    assert intervals.scalars["f1_macro"] == on_validation.intervals(MULTILABEL, {}, seed=0).scalars["f1_macro"]
    for label in LABELS:
        assert on_validation.evaluation.per_label[label]["auc"] == val.evaluation.per_label[label]["auc"]


def test_an_ensemble_claims_no_confidence_from_answers_of_its_single_models():
    val = judged(np.arange(NUM), seed=0, slope=4.0)
    one, five, ten = (
        choose_rule("sensitivity=0.7", val, MULTILABEL, None, num_models=num, num_repeats=repeats)
        for num, repeats in ((1, 1), (5, 1), (10, 2))
    )
    assert {(row["basis"], row["confidence"]) for row in one.by_label.values()} == {("estimate", 0.9)}
    assert {(row["basis"], row["confidence"]) for row in five.by_label.values()} == {("observed", None)}
    said = "calibration and thresholds without a guarantee: chosen on {}; the ensemble of {} models that ships answers "
    assert not any("ensemble" in note for note in one.notes)
    assert five.notes[-1] == said.format("single models", 5) + "less extremely"
    assert ten.notes[-1] == said.format("the mean answers of 2 models", 10) + "less extremely"


def test_held_out_patients_are_asked_of_the_ensemble_and_guarantee_as_before():
    val = judged(np.arange(NUM), seed=0, slope=4.0)
    held = (val.answers, val.targets, val.groups)
    alone, five = (
        choose_rule("sensitivity=0.7", val, MULTILABEL, lambda: held, num_models=num, num_repeats=1) for num in (1, 5)
    )
    assert five.by_label == alone.by_label and {row["basis"] for row in five.by_label.values()} == {"guarantee"}
    assert five.notes[-1].startswith("calibration: chosen on single models;")


def test_what_is_told_of_calibration_names_labels_or_one_temperature_of_all_classes(tmp_path):
    for spec, says in ((MULTILABEL, "Calibration of 2 labels: 0 none, "), (MULTICLASS, "Calibration: one temperature")):
        val = judged(np.arange(NUM), seed=0, slope=4.0, spec=spec)
        rule = choose_rule("f1", val, spec, None, num_models=1, num_repeats=1)
        *_, lines = rule.write(tmp_path, val, weights={})
        assert lines[-1].startswith(says)
    assert lines[-1].startswith("Calibration: one temperature for all 2 classes; ECE on test ")
