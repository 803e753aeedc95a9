"""Stored curves are scikit-learn's, thinned; the confusion counts what it says."""

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from xlite.metrics.curves import MAX_POINTS, NONE, curves

LABELS = ("a", "b", "c")


def made_up(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((num, 3)) < 0.3).astype(np.float32)
    return np.clip(0.3 * targets + rng.random((num, 3)) * 0.7, 0, 1), targets


@pytest.mark.parametrize("num", [40, 5000])
def test_the_area_under_a_thinned_roc_curve_is_the_auc(num: int) -> None:
    probs, targets = made_up(num)
    found = curves(probs, targets, LABELS, {}, exclusive=False)["labels"]
    for number, label in enumerate(LABELS):
        false, true = found[label]["roc"]
        assert len(false) == len(true) <= MAX_POINTS and (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert auc(false, true) == pytest.approx(roc_auc_score(targets[:, number], probs[:, number]), abs=2e-3)
        recall, precision = found[label]["pr"]
        assert len(recall) <= MAX_POINTS and recall == sorted(recall) and recall[0] > 0 and recall[-1] == 1
        assert precision[-1] == pytest.approx(targets[:, number].mean(), abs=0.02)


def test_a_label_without_positives_and_unknown_targets_have_no_curve() -> None:
    probs, targets = made_up(40)
    targets[:, 0], targets[:, 1] = 0, np.nan
    assert list(curves(probs, targets, LABELS, {}, exclusive=False)["labels"]) == ["c"]


def test_confusion_of_labels_counts_each_that_an_example_has() -> None:
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, np.nan, 1]], dtype=np.float32)
    probs = np.array([[0.9, 0.1, 0.9], [0.1, 0.1, 0.1], [0.1, 0.6, 0.1], [0.9, 0.9, 0.9]])
    found = curves(probs, targets, LABELS, {"a": 0.5, "b": 0.5, "c": 0.5}, exclusive=False)["confusion"]
    assert found["rows"] == found["columns"] == [*LABELS, NONE]
    assert found["totals"] == [2, 1, 0, 1]  # the last example is not wholly known
    assert found["counts"] == [[1, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_confusion_of_classes_is_that_of_the_most_probable_one_also_of_parts() -> None:
    probs = np.array([[[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], [[0.4, 0.5, 0.1], [0.3, 0.3, 0.4]]])
    targets = np.array([[[1, 0, 0], [1, 0, 0]], [[0, 1, 0], [np.nan] * 3]], dtype=np.float32)
    found = curves(probs, targets, LABELS, {}, exclusive=True)["confusion"]
    assert found["rows"] == list(LABELS) and found["totals"] == [2, 1, 0]
    assert found["counts"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
