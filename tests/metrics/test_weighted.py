"""Metrics under row weights: scikit-learn's with sample weights, and those of repeated rows."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from xlite.metrics.classes import evaluate_classes
from xlite.metrics.decisions import with_decisions
from xlite.metrics.multilabel import evaluate_multilabel
from xlite.metrics.weighted import (
    weighted_balanced_accuracy,
    weighted_classes,
    weighted_macro_auc,
    weighted_multilabel,
)

NAN = float("nan")
LABELS = ("Effusion", "Hernia", "Mass", "Nodule")
CLOSE = partial(pytest.approx, rel=1e-9, abs=1e-9)


def label_case(seed, *, num_rows=80, decimals=1):
    """Probabilities full of ties, labels with both classes, and how often each row was drawn."""
    rng = np.random.default_rng(seed)
    probs = rng.random((num_rows, 4)).round(decimals)
    targets = (rng.random((num_rows, 4)) < 0.3).astype(np.float32)
    return probs, targets, rng.integers(0, 4, num_rows).astype(float)


@pytest.mark.parametrize("decimals", [1, 8])
def test_every_metric_of_labels_is_scikit_learns_with_the_weights(decimals):
    probs, targets, times = label_case(0, decimals=decimals)
    decided = probs >= 0.7
    scalars, per_label = weighted_multilabel(probs, targets, LABELS, {"_at_thresholds": decided}).values(times)
    expected = {}
    for average in ("macro", "micro"):
        weighted = {"average": average, "sample_weight": times}
        expected[f"auc_{average}"] = sk.roc_auc_score(targets, probs, **weighted)
        expected[f"pr_auc_{average}"] = sk.average_precision_score(targets, probs, **weighted)
        for ending, predicted in (("", probs >= 0.5), ("_at_thresholds", decided)):
            for name in ("f1", "precision", "recall"):
                expected[f"{name}_{average}{ending}"] = getattr(sk, f"{name}_score")(targets, predicted, **weighted)
    expected["hamming"] = sk.hamming_loss(targets, probs >= 0.5, sample_weight=times)
    some = targets.any(axis=1)
    for name, of in (("label_ranking_ap", sk.label_ranking_average_precision_score), ("coverage", sk.coverage_error)):
        expected[name] = of(targets[some], probs[some], sample_weight=times[some])
    assert scalars == CLOSE({name: value for name, value in expected.items() if "micro_at" not in name})
    for i in range(4):
        one = (targets[:, i], probs[:, i])
        assert per_label["auc"][i] == CLOSE(sk.roc_auc_score(*one, sample_weight=times))
        assert per_label["pr_auc"][i] == CLOSE(sk.average_precision_score(*one, sample_weight=times))
        f1 = sk.f1_score(targets[:, i], decided[:, i], sample_weight=times)
        assert per_label["f1_at_thresholds"][i] == CLOSE(f1)


def test_every_metric_of_classes_is_scikit_learns_with_the_weights():
    rng = np.random.default_rng(1)
    probs, truth, times = rng.dirichlet(np.ones(3), 90), rng.integers(3, size=90), rng.integers(0, 4, 90).astype(float)
    class_weights, guess, targets = np.array([1.0, 2, 4]), probs.argmax(axis=1), np.eye(3)[truth]
    metrics = weighted_classes(probs, targets, "abc", {}, class_weights=class_weights, ordinal=True)
    scalars, per_label = metrics.values(times)
    weighted = {"sample_weight": times}
    assert {name: scalars[name] for name in scalars if "macro" not in name} == CLOSE(
        {
            "accuracy": sk.accuracy_score(truth, guess, **weighted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, guess, **weighted),
            "log_loss": sk.log_loss(truth, probs, **weighted),
            "weighted_log_loss": sk.log_loss(truth, probs, sample_weight=times * class_weights[truth]),
            "kappa_quadratic": sk.cohen_kappa_score(truth, guess, weights="quadratic", **weighted),
        }
    )
    assert scalars["f1_macro"] == CLOSE(sk.f1_score(truth, guess, average="macro", **weighted))
    assert scalars["auc_macro"] == CLOSE(sk.roc_auc_score(targets, probs, average="macro", **weighted))
    assert per_label["recall"] == CLOSE(sk.recall_score(truth, guess, average=None, **weighted))


scores_with_ties = hnp.arrays(np.float64, (12, 2), elements=st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
some_targets = hnp.arrays(np.float32, (12, 2), elements=st.sampled_from([0.0, 1.0, NAN]))


@settings(deadline=None, max_examples=60)
@given(scores_with_ties, some_targets, hnp.arrays(np.int64, 12, elements=st.integers(0, 3)))
def test_weights_equal_repeated_rows_whatever_is_unknown_or_left_out(probs, targets, times):
    targets[0], targets[1], times[:2] = 1, 0, 1
    repeated = [np.repeat(array, times, 0) for array in (probs, targets, probs >= 0.7)]
    expected = with_decisions(evaluate_multilabel(*repeated[:2], "ab"), repeated[2], repeated[1], "ab")
    metrics = weighted_multilabel(probs, targets, "ab", {"_at_thresholds": probs >= 0.7})
    scalars, per_label = metrics.values(times.astype(float))
    assert {name: value for name, value in scalars.items() if not np.isnan(value)} == CLOSE(expected.scalars)
    for i, label in enumerate("ab"):
        found = {name: values[i] for name, values in per_label.items() if not np.isnan(values[i])}
        assert found == CLOSE({name: expected.per_label[label][name] for name in found})
        assert {"auc", "f1", "recall_at_thresholds"} <= found.keys()


def test_many_resamples_at_once_are_each_of_them_alone():
    probs, targets, _ = label_case(2)
    weights = np.random.default_rng(3).integers(0, 3, (6, 80)).astype(float)
    rows = np.random.default_rng(4).integers(0, 2, (80, 5, 3))
    classes = weighted_classes(np.random.default_rng(5).random((80, 5, 3)), np.eye(3)[rows.argmax(axis=2)], "abc", {})
    for metrics in (weighted_multilabel(probs, targets, LABELS, {}), classes):
        together = metrics.values(weights)
        for i, row in enumerate(weights):
            for many, one in zip(together, metrics.values(row), strict=True):
                for name, value in one.items():
                    np.testing.assert_allclose(many[name][i], value, rtol=1e-12)


def test_weights_of_one_give_the_evaluation():
    probs, targets, _ = label_case(6)
    targets[3:9, 1] = NAN
    targets[:, 3] = 0
    scalars, _ = weighted_multilabel(probs, targets, LABELS, {}).values(np.ones(80))
    assert scalars == CLOSE(evaluate_multilabel(probs, targets, LABELS).scalars)
    windows = np.eye(3)[np.random.default_rng(7).integers(3, size=(20, 4))]
    windows[2:4, 1] = NAN
    answers = np.random.default_rng(8).dirichlet(np.ones(3), (20, 4))
    found, _ = weighted_classes(answers, windows, "abc", {}, ordinal=True).values(np.ones(20))
    assert found == CLOSE(evaluate_classes(answers, windows, "abc", ordinal=True).scalars)


def test_a_label_that_loses_a_class_is_left_out_of_that_mean():
    probs, targets = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.2]]), np.array([[1.0, 0], [0, 1], [0, 0]])
    value = weighted_macro_auc(probs, targets)
    assert value(np.array([1, 0, 1])) == 1.0
    assert np.isnan(value(np.array([0, 0, 5])))
    assert weighted_macro_auc(probs, np.array([[1.0, NAN], [0, NAN], [0, NAN]]))(np.ones(3)) == 1.0
    one_class = weighted_balanced_accuracy(np.eye(2)[[0, 1, 1]], np.eye(2)[[0, 1, 1]])
    assert one_class(np.array([1, 1, 0])) == 1.0 and np.isnan(one_class(np.array([0, 2, 1])))
