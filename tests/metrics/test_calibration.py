"""Calibration against scikit-learn and by hand: what is chosen, what it leaves alone, ECE with 0 and 1."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.calibration import _SigmoidCalibration, calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from xlite.metrics.calibration import (
    Calibration,
    calibration_metrics,
    expected_calibration_error,
    reliability_curve,
)
from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.decisions import fold_of_rows
from xlite.metrics.multilabel import evaluate_multilabel

NAN = float("nan")


def drawn(slope, intercept, num_rows=4000, seed=0):
    """(N, 1) probabilities whose true log-odds are slope * logit + intercept, and targets drawn from these."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (num_rows, 1))
    return expit(logits), (rng.random((num_rows, 1)) < expit(slope * logits + intercept)).astype(np.float32)


def fitted(probs, targets, groups=None, *, exclusive=False):
    labels = tuple("abcdef"[: targets.shape[-1]])
    groups = np.arange(len(probs)).astype(str) if groups is None else groups
    return fit_calibration(probs, targets, labels, groups, exclusive=exclusive)


@pytest.mark.parametrize(
    ("slope", "intercept", "method"), [(1, 0, "none"), (0.4, 0, "temperature"), (0.6, -1.5, "platt")]
)
def test_the_map_that_the_data_was_made_with_is_chosen(slope, intercept, method):
    calibration, _ = fitted(*drawn(slope, intercept))
    assert calibration.methods == (method,)
    assert calibration.slopes[0] == pytest.approx(slope, rel=0.1)
    assert calibration.intercepts[0] == pytest.approx(intercept, abs=0.15)


def test_platts_map_is_scikit_learns():
    probs, targets = drawn(0.6, -1.5)
    calibration, _ = fitted(probs, targets)
    theirs = _SigmoidCalibration().fit(logit(probs[:, 0]), targets[:, 0])
    np.testing.assert_allclose(calibration.apply(probs)[:, 0], theirs.predict(logit(probs[:, 0])), atol=1e-6)


def test_the_temperature_has_the_lowest_log_loss_of_a_fine_grid():
    probs, targets = drawn(0.4, 0, num_rows=500)
    calibration, _ = fitted(probs, targets)
    losses = {slope: log_loss(targets[:, 0], expit(slope * logit(probs[:, 0]))) for slope in np.arange(0.2, 0.7, 1e-3)}
    assert calibration.methods == ("temperature",)
    assert calibration.slopes[0] == pytest.approx(min(losses, key=losses.__getitem__), abs=1e-3)


def test_ranks_and_so_auc_stay_to_the_last_bit():
    probs, targets = drawn(0.6, -1.5, num_rows=2000)
    calibration, _ = fitted(probs, targets)
    before, after = (evaluate_multilabel(p, targets, ("a",)).scalars for p in (probs, calibration.apply(probs)))
    assert (before["auc_macro"], before["pr_auc_macro"]) == (after["auc_macro"], after["pr_auc_macro"])
    assert before["f1_macro"] != after["f1_macro"]  # at one half: the scale is another


def test_cross_fitted_answers_are_of_maps_that_did_not_see_the_patient():
    probs, targets = drawn(0.4, 0, num_rows=600)
    groups = np.repeat(np.arange(200), 3).astype(str)
    folds, changed = fold_of_rows(groups), targets.copy()
    own = folds == folds[300]
    changed[300:303] = 1 - changed[300:303]  # of one patient
    (first, crossed), (second, others) = fitted(probs, targets, groups), fitted(probs, changed, groups)
    assert first.methods == second.methods == ("temperature",)
    np.testing.assert_array_equal(crossed[own], others[own])
    assert (crossed[~own] != others[~own]).all() and first.slopes != second.slopes


def test_rare_reversed_and_single_patient_labels_stay_to_the_last_bit_and_are_said():
    rng = np.random.default_rng(0)
    probs = rng.random((300, 4))
    targets = np.zeros((300, 4))
    targets[:9, 0] = 1  # 9 positives
    targets[:, 1] = rng.random(300) < 1 - probs[:, 1]  # scores that mislead: a slope below 0
    targets[:12, 2] = 1  # 12 positives, all of one patient
    targets[:, 3] = NAN
    groups = np.r_[np.zeros(12), np.arange(1, 289)].astype(int).astype(str)
    calibration, crossed = fitted(probs, targets, groups)
    assert set(calibration.methods) - {"temperature"} == {"none"}
    assert calibration.methods[0] == calibration.methods[2] == calibration.methods[3] == "none"
    assert calibration.notes == (
        "not calibrated, fewer than 10 positives or negatives, or of too few patients: a, c, d",
    )
    for i in (0, 2, 3):
        np.testing.assert_array_equal(calibration.apply(probs)[:, i], probs[:, i])
        np.testing.assert_array_equal(crossed[:, i], probs[:, i])


def test_classes_get_one_temperature_and_the_same_decisions():
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 1, (600, 2, 3))
    probs = softmax(3 * true_logits, axis=-1)  # of scan lines, over-confident
    classes = (true_logits + rng.gumbel(size=true_logits.shape)).argmax(-1)
    targets = np.eye(3)[classes]
    targets[5, 1] = NAN
    calibration, crossed = fitted(probs, targets, exclusive=True)
    assert calibration.methods == ("temperature",) * 3 and calibration.slopes[0] == pytest.approx(1 / 3, rel=0.15)
    after = calibration.apply(probs)
    np.testing.assert_allclose(after.sum(-1), 1)
    np.testing.assert_array_equal(after.argmax(-1), probs.argmax(-1))
    np.testing.assert_allclose(crossed, after, atol=0.05)
    few, _ = fitted(probs[:12], targets[:12, :, :] * [0, 0, 0] + [1, 0, 0], exclusive=True)
    assert few.methods == ("none",) * 3 and "fewer than 10 rows" in few.notes[0]


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf, NAN])
def test_a_slope_that_is_not_above_0_is_no_calibration(wrong):
    with pytest.raises(ValueError, match="slopes are above 0"):
        Calibration(("a",), ("platt",), (wrong,), (0.0,))


def test_it_survives_json_and_answers_the_same():
    probs, targets = drawn(0.6, -1.5, num_rows=1000)
    calibration, _ = fitted(probs, targets)
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert again == calibration
    np.testing.assert_array_equal(again.apply(probs), calibration.apply(probs))


def test_certain_probabilities_are_kept_apart_and_finite():
    calibration = Calibration(("a",), ("temperature",), (0.5,), (0.0,))
    given = np.array([0.0, 5e-17, 1e-9, 0.5, 1 - 1e-9, np.nextafter(1, 0), 1.0])
    answers = calibration.apply(given[:, None])[:, 0]
    assert (np.diff(answers) > 0).all() and answers[0] > 0 and answers[-1] < 1
    assert np.isfinite(
        Calibration(("a", "b"), ("temperature",) * 2, (2.0,) * 2, (0.0,) * 2, True).apply([[1, 0]])
    ).all()


@pytest.mark.parametrize(("scale", "method"), [(3.5, "none"), (0.5, "platt")])
def test_a_map_that_would_make_scores_of_other_images_equal_is_refused(scale, method):
    """Slope 3 makes 1 of all from 1 - 1e-6 on, which is near where validation's logits reach 7, and far from 1."""
    rng = np.random.default_rng(0)
    logits = np.clip(rng.normal(0, scale, (3000, 1)), -2 * scale, 2 * scale)
    targets = (rng.random((3000, 1)) < expit(3 * logits + 1)).astype(np.float32)
    calibration, crossed = fitted(expit(logits), targets)
    assert calibration.methods == (method,) and (method == "none") == np.array_equal(crossed, expit(logits))
    five = 1 - np.array([1e-6, 8e-7, 6e-7, 4e-7, 2e-7])
    assert method != "none" or (np.diff(calibration.apply(five[:, None])[:, 0]) > 0).all()


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_model_that_is_right_on_all_of_validation_does_not_become_certain(num_classes):
    """A lower temperature is always better there; without end, 0.45 would become 0.98."""
    rng, truth = np.random.default_rng(0), np.arange(90) % max(num_classes, 2)
    logits = rng.normal(0, 0.3, (90, num_classes))
    if num_classes == 1:
        probs, targets = expit(logits + np.where(truth, 1.5, -1.5)[:, None]), truth[:, None].astype(float)
    else:
        targets = np.eye(num_classes)[truth]
        probs = softmax(logits + 2 * targets, axis=-1)
    calibration, _ = fitted(probs, targets, exclusive=num_classes > 1)
    assert calibration.methods == (("platt",) if num_classes == 1 else ("none",) * 3)
    assert calibration.apply(probs).max() < 0.999
    mistaken = targets.copy()
    mistaken[:2] = targets[1::-1] if num_classes > 1 else 1 - targets[:2]
    assert fitted(probs, mistaken, exclusive=num_classes > 1)[0].methods[0] != "none", "with two mistakes it is fitted"


# Reliability curves, ECE, Brier score


@pytest.mark.parametrize(("bins", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("certain", [False, True])
def test_reliability_curves_are_scikit_learns(bins, strategy, certain):
    probs, targets = drawn(0.6, -1.0, num_rows=777)
    p, truth = probs[:, 0].copy(), targets[:, 0]
    if certain:
        p[:40], p[40:60], p[60:80] = 0, 1, 0.2
    curve = reliability_curve(p, truth, bins=bins, num_bins=10)
    observed, predicted = calibration_curve(truth, p, n_bins=10, strategy=strategy)
    np.testing.assert_allclose([row["observed"] for row in curve], observed)
    np.testing.assert_allclose([row["mean_predicted"] for row in curve], predicted)
    assert sum(row["count"] for row in curve) == 777


def test_0_is_in_the_first_bin_and_1_in_the_last():
    curve = reliability_curve(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]), bins="width", num_bins=5)
    assert [(row["low"], row["high"], row["count"]) for row in curve] == [(0, 0.2, 2), (0.8, 1, 2)]
    assert expected_calibration_error(curve) == 0
    wrong = reliability_curve(np.array([0.0, 1.0]), np.array([1, 0]), bins="width", num_bins=5)
    assert expected_calibration_error(wrong) == 1


def test_ece_by_hand():
    """Two bins: 0.1, 0.2, 0.3 with one positive (|0.2 - 1/3|), 0.9 with none (|0.9 - 0|)."""
    curve = reliability_curve(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 0, 0]), bins="width", num_bins=2)
    assert expected_calibration_error(curve) == pytest.approx(3 / 4 * (1 / 3 - 0.2) + 1 / 4 * 0.9)


@pytest.mark.parametrize("bins", ["width", "mass"])
def test_scores_that_are_all_equal_are_one_bin(bins):
    for score in (0.0, 0.3, 1.0):
        (row,) = reliability_curve(np.full(20, score), np.arange(20) < 6, bins=bins)
        assert row["count"] == 20 and row["observed"] == pytest.approx(0.3)
        assert expected_calibration_error([row]) == pytest.approx(abs(score - 0.3))


def test_metrics_of_the_known_targets_and_of_labels_that_occur():
    probs, targets = drawn(0.6, -1.0, num_rows=300)
    probs, targets = np.hstack([probs] * 3), np.hstack([targets, targets * 0, targets * NAN])
    targets[:50, 0] = NAN
    values, curves = calibration_metrics(probs, targets, ("a", "b", "c"))
    assert values["per_label"].keys() == curves.keys() == {"a", "b"}
    assert values["per_label"]["a"]["brier"] == pytest.approx(brier_score_loss(targets[50:, 0], probs[50:, 0]))
    assert values["scalars"] == {f"{name}_macro": value for name, value in values["per_label"]["a"].items()}
    assert calibration_metrics(probs, targets * NAN, ("a", "b", "c"))[0] == {"scalars": {}, "per_label": {}}
