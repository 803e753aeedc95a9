"""Decisions at thresholds that no judged row helped to choose."""

import numpy as np
import pytest

from xlite.metrics.decisions import cross_fitted, decide, decision_metrics
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.metrics.thresholds import choose_thresholds

LABELS = ("a", "b")


def by_f1(probs, targets, _=None):
    return choose_thresholds(probs, targets, LABELS, method="f1")[0]


def noise(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((num_rows, 2)), (rng.random((num_rows, 2)) < 0.2).astype(np.float32)


def test_a_row_is_never_judged_by_a_threshold_it_helped_to_choose():
    probs, targets = noise(40)
    groups = np.arange(40).astype(str)
    seen = []

    def choose(chosen_probs, chosen_targets, chosen_groups):
        seen.append({tuple(row) for row in chosen_probs.tolist()})
        return dict.fromkeys(LABELS, 0.5)

    cross_fitted(probs, targets, LABELS, groups, choose)
    assert len(seen) == 5
    for row in probs.tolist():
        assert sum(tuple(row) not in rows for rows in seen) == 1


def test_rows_of_one_group_are_judged_together():
    probs, targets = noise(40)
    groups = np.repeat([f"patient{i}" for i in range(10)], 4)
    sizes = []

    def choose(chosen_probs, chosen_targets, chosen_groups):
        sizes.append(len(chosen_probs))
        return dict.fromkeys(LABELS, 0.5)

    cross_fitted(probs, targets, LABELS, groups, choose)
    assert sizes == [32] * 5


def test_on_noise_cross_fitting_takes_away_what_choosing_gains():
    gains = []
    for seed in range(40):
        probs, targets = noise(60, seed)
        groups = np.arange(60).astype(str)
        honest = decision_metrics(cross_fitted(probs, targets, LABELS, groups, by_f1), targets, LABELS)[0]
        own = decision_metrics(decide(probs, by_f1(probs, targets), LABELS), targets, LABELS)[0]
        gains.append(own["f1_macro"] - honest["f1_macro"])
    assert np.mean(gains) > 0.05


def test_good_scores_far_from_one_half_are_not_judged_by_one_half():
    targets = np.tile([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], (25, 1)).astype(np.float32)
    probs = 0.02 + 0.05 * targets + np.random.default_rng(0).uniform(0, 0.01, targets.shape)
    assert evaluate_multilabel(probs, targets, LABELS).scalars["f1_macro"] == 0.0
    decisions = cross_fitted(probs, targets, LABELS, np.arange(100).astype(str), by_f1)
    assert decision_metrics(decisions, targets, LABELS)[0] == {
        "f1_macro": 1.0,
        "precision_macro": 1.0,
        "recall_macro": 1.0,
    }


@pytest.mark.parametrize("seed", range(5))
def test_at_one_half_it_says_what_evaluation_says(seed):
    probs, targets = noise(50, seed)
    targets[np.random.default_rng(seed).random(targets.shape) < 0.1] = np.nan
    macro, per_label = decision_metrics(probs >= 0.5, targets, LABELS)
    whole = evaluate_multilabel(probs, targets, LABELS)
    assert macro == {name: pytest.approx(whole.scalars[name]) for name in macro} and len(macro) == 3
    for label in LABELS:
        assert per_label[label] == {name: pytest.approx(whole.per_label[label][name]) for name in per_label[label]}


def test_one_group_alone_is_decided_at_its_own_thresholds():
    probs, targets = noise(30)
    decisions = cross_fitted(probs, targets, LABELS, np.zeros(30, dtype=int), by_f1)
    np.testing.assert_array_equal(decisions, decide(probs, by_f1(probs, targets), LABELS))


def test_a_label_without_positives_has_no_f1_and_is_in_no_average():
    probs, targets = noise(30)
    targets[:, 1] = 0
    macro, per_label = decision_metrics(probs >= 0.5, targets, LABELS)
    assert per_label["b"] == {} and macro["f1_macro"] == per_label["a"]["f1"]
