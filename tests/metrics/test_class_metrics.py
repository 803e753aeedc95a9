"""Metrics for one class of several, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as reference

from xlite.errors import InputError
from xlite.metrics.classes import evaluate_classes, known_rows
from xlite.metrics.multilabel import DeadLabels
from xlite.metrics.weighted import weighted_balanced_accuracy

LABELS = ("mild", "moderate", "severe")


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(300, 3)) + 1.5 * np.eye(3)[truth]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probs, np.eye(3, dtype=np.float32)[truth], truth


def test_scalars_are_scikit_learns(judged):
    probs, targets, truth = judged
    scalars = evaluate_classes(probs, targets, LABELS, class_weights=(1, 2, 4), ordinal=True).scalars
    guess = probs.argmax(axis=1)
    assert scalars["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert scalars["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert scalars["auc_macro"] == pytest.approx(reference.roc_auc_score(truth, probs, multi_class="ovr"))
    assert scalars["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert scalars["log_loss"] == pytest.approx(reference.log_loss(truth, probs))
    weights = np.array([1, 2, 4])[truth]
    assert scalars["weighted_log_loss"] == pytest.approx(reference.log_loss(truth, probs, sample_weight=weights))
    assert scalars["kappa_quadratic"] == pytest.approx(reference.cohen_kappa_score(truth, guess, weights="quadratic"))


def test_recall_of_each_class_and_a_class_never_predicted(judged):
    probs, targets, truth = judged
    probs = probs * [1.0, 1.0, 1e-6]
    probs /= probs.sum(axis=1, keepdims=True)
    evaluation = evaluate_classes(probs, targets, LABELS)
    recall = reference.recall_score(truth, probs.argmax(axis=1), average=None)
    assert [evaluation.per_label[name]["recall"] for name in LABELS] == pytest.approx(recall.tolist())
    dead = evaluation.dead_labels
    assert dead == DeadLabels(("severe",), 3, exclusive=True) and dead.collapsed
    assert dead.note == "predictions have collapsed: 1 of 3 classes never predicted: severe"


def test_unknown_rows_are_left_out_and_lines_are_rows(judged):
    probs, targets, _ = judged
    hidden = targets.copy()
    hidden[::3] = np.nan
    known = np.arange(300) % 3 != 0
    expected = evaluate_classes(probs[known], targets[known], LABELS).scalars
    windows = evaluate_classes(probs.reshape(10, 30, 3), hidden.reshape(10, 30, 3), LABELS).scalars
    assert windows == pytest.approx(expected)


def test_the_bootstrap_metric_with_equal_weights_is_the_metric(judged):
    probs, targets, truth = judged
    value = weighted_balanced_accuracy(probs, targets)
    expected = reference.balanced_accuracy_score(truth, probs.argmax(axis=1))
    assert value(np.ones(300)) == pytest.approx(expected)
    weights = np.zeros(300)
    weights[:40] = 2
    small = reference.balanced_accuracy_score(truth[:40], probs[:40].argmax(axis=1))
    assert value(weights) == pytest.approx(small)
    windows = weighted_balanced_accuracy(probs.reshape(10, 30, 3), targets.reshape(10, 30, 3))
    assert windows(np.ones(10)) == pytest.approx(expected)


def test_one_class_alone_cannot_be_judged(judged):
    probs, targets, truth = judged
    with pytest.raises(InputError, match="only one class"):
        evaluate_classes(probs[truth == 0], targets[truth == 0], LABELS)
    with pytest.raises(InputError, match="known class"):
        known_rows(probs, np.full_like(targets, np.nan))
