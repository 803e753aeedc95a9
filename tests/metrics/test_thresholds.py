"""Thresholds against brute force over every possible cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xlite.metrics.multilabel import evaluate_multilabel
from xlite.metrics.thresholds import choose_thresholds

NAN = float("nan")


def f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())


def youden(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(predicted[truth].mean() - predicted[~truth].mean())


MERITS = {"f1": f1, "youden": youden}
METHODS = pytest.mark.parametrize("method", ["f1", "youden"])


@METHODS
@settings(deadline=None, max_examples=150)
@given(
    scores=hnp.arrays(np.float64, 14, elements=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.31, 0.5, 0.7, 0.99, 1.0])),
    target=hnp.arrays(np.float32, 14, elements=st.sampled_from([0.0, 1.0, NAN])),
)
def test_no_cut_is_better_and_none_as_good_is_higher(method: str, scores: np.ndarray, target: np.ndarray) -> None:
    target[:2] = 0, 1
    thresholds, notes = choose_thresholds(scores[:, None], target[:, None], ("a",), method=method)  # type: ignore[arg-type]
    known = ~np.isnan(target)
    scores, truth = scores[known], target[known] == 1
    merits = {cut: MERITS[method](truth, scores >= cut) for cut in np.unique(scores)}
    best = max(merits.values())
    expected = max(cut for cut, merit in merits.items() if merit > best - 1e-12)
    assert notes == ()
    np.testing.assert_array_equal(scores >= thresholds["a"], scores >= expected)
    assert 0 <= thresholds["a"] <= 1
    assert thresholds["a"] == 0 or thresholds["a"] not in scores


@METHODS
def test_a_clean_split_is_cut_halfway(method: str) -> None:
    probs = np.array([[0.2], [0.8], [0.1], [0.6]])
    targets = np.array([[0.0], [1.0], [0.0], [1.0]])
    thresholds, _ = choose_thresholds(probs, targets, ("a",), method=method)  # type: ignore[arg-type]
    assert thresholds == {"a": pytest.approx(0.4)}


def test_f1_and_youden_part_ways_on_a_rare_label() -> None:
    """The second of two positives lies below 10 of 98 negatives: Youden takes it in (J 0.90 against 0.50), F1 does not
    (0.29 against 0.67)."""
    probs = np.concatenate([[0.9], np.full(10, 0.5), [0.3], np.full(88, 0.1)])[:, None]
    targets = np.zeros((100, 1))
    targets[[0, 11]] = 1
    assert choose_thresholds(probs, targets, ("a",), method="f1")[0]["a"] == pytest.approx(0.7)
    assert choose_thresholds(probs, targets, ("a",), method="youden")[0]["a"] == pytest.approx(0.2)


@METHODS
def test_labels_with_one_class_get_a_half_and_are_named(method: str) -> None:
    probs = np.array([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.8, 0.8]])
    targets = np.array([[0, 0, 1, NAN], [1, 0, 1, NAN]])
    thresholds, notes = choose_thresholds(probs, targets, ("a", "b", "c", "d"), method=method)  # type: ignore[arg-type]
    assert thresholds == {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}
    assert notes == ("threshold 0.5, since no positive or no negative is known: b, c, d",)


@METHODS
def test_everything_positive_is_cut_between_the_lowest_score_and_zero(method: str) -> None:
    probs = np.array([[0.4], [0.4], [0.6]])  # the scores mislead: no cut beats predicting all positive
    thresholds, _ = choose_thresholds(probs, np.array([[1.0], [1], [0]]), ("a",), method=method)  # type: ignore[arg-type]
    assert thresholds["a"] == pytest.approx(0.2)


def test_neighbours_without_a_number_between_them_are_still_told_apart() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    probs = np.array([[low], [high]])
    thresholds, _ = choose_thresholds(probs, np.array([[0.0], [1.0]]), ("a",), method="f1")
    assert low < thresholds["a"] <= high


def test_chosen_thresholds_reach_the_f1_they_promise_on_float32_probabilities() -> None:
    rng = np.random.default_rng(0)
    probs = rng.random((500, 3)).astype(np.float32)
    targets = (rng.random((500, 3)) < probs * 0.3).astype(np.float32)
    thresholds, _ = choose_thresholds(probs, targets, ("a", "b", "c"), method="f1")
    chosen = evaluate_multilabel(probs, targets, ("a", "b", "c"), threshold=np.array(list(thresholds.values())))
    for i, label in enumerate("abc"):
        best = max(f1(targets[:, i] == 1, probs[:, i] >= cut) for cut in probs[:, i])
        assert chosen.per_label[label]["f1"] == pytest.approx(best, rel=1e-12)


def test_a_prediction_that_is_not_finite_names_its_label() -> None:
    with pytest.raises(ValueError, match="'b' in row 0 is not finite"):
        choose_thresholds(np.array([[0.1, NAN]]), np.array([[1.0, 0.0]]), ("a", "b"), method="f1")
