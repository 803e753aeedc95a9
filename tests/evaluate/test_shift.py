"""Shift of scores and specificity, against values worked out by hand."""

import numpy as np
import pytest

from xlite.evaluate.figures import _scored
from xlite.evaluate.shift import shift_of
from xlite.evaluate.specificity import specificity
from xlite.metrics.calibration import reliability_curve

CURVE = [
    {"low": 0.0, "high": 0.5, "mean_predicted": 0.25, "observed": 0.0, "count": 10},
    {"low": 0.5, "high": 1.0, "mean_predicted": 0.75, "observed": 1.0, "count": 10},
]


def test_psi_ks_and_means_of_two_bins_by_hand():
    probs = np.array([0.1, 0.2, 0.5, 0.9])[:, None]  # three in (0, 0.5], one above
    (found,) = shift_of(probs, ["a"], {"a": CURVE}).values()
    p, q = np.array([3.5, 1.5]) / 5, np.array([10.5, 10.5]) / 21
    assert found.psi == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert (found.ks, found.study_mean, found.mean) == pytest.approx((0.25, 0.5, 0.425))
    assert found.psi_by_chance == pytest.approx(1 / 4 + 1 / 20)


def test_the_same_scores_have_not_shifted_and_others_have():
    rng = np.random.default_rng(0)
    probs = rng.random(300)
    curve = reliability_curve(probs, np.zeros(300), bins="mass")
    same, other = (
        shift_of(values[:, None], ["a"], {"a": curve})["a"] for values in (probs, np.clip(probs + 0.4, 0, 1))
    )
    assert same.psi == pytest.approx(0, abs=1e-9) and not same.is_large
    assert other.psi > 0.25 and other.is_large


def test_a_large_psi_of_few_images_is_not_called_a_shift():
    rng = np.random.default_rng(1)
    curve = reliability_curve(rng.random(300), np.zeros(300), bins="mass")
    found = shift_of(rng.random((20, 1)), ["a"], {"a": curve})["a"]
    assert found.psi > 0.25 and not found.is_large  # 14 (1/20 + 1/300) = 0.75 is what chance makes


def test_unknown_scores_are_left_out_where_the_label_is_known_anywhere():
    answers = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    targets = np.array([[0, np.nan, np.nan], [np.nan, 1, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(_scored(answers, targets), [[0.1, np.nan, 0.3], [np.nan, 0.5, 0.6]])
    found = shift_of(_scored(answers, targets), ["a", "b", "c"], dict.fromkeys("abc", CURVE))
    assert [found[label].mean for label in "abc"] == pytest.approx([0.1, 0.5, 0.45])


def test_specificity_is_the_share_of_negatives_decided_negative_unknown_ones_left_out():
    targets = np.array([[0, 0], [0, 1], [0, np.nan], [1, 1]])
    decisions = np.array([[False, True], [True, True], [False, False], [True, False]])
    macro, by_label, _ = specificity(decisions, targets, ["a", "b"], np.arange(4), seed=0)
    assert by_label == pytest.approx({"a": 2 / 3, "b": 0.0}) and macro == pytest.approx({"specificity_macro": 1 / 3})


def test_specificity_has_a_wilson_interval_and_none_of_too_few():
    targets = np.tile([[0.0, 0.0], [1.0, 0.0]], (40, 1))
    decisions = np.zeros(targets.shape, dtype=bool)
    decisions[:16:2, 0] = True  # 8 of 40 negatives
    _, by_label, found = specificity(decisions, targets, ["a", "b"], np.arange(80), seed=0)
    interval = found.per_label["a"]["specificity"]
    assert by_label["a"] == 0.8 and interval.low == pytest.approx(0.652, abs=0.02)  # Wilson of 32 of 40
    assert interval.high == pytest.approx(0.895, abs=0.02)
    assert found.per_label["b"]["specificity"].note == "too few: 0 positives"
