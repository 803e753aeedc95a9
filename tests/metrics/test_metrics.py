"""Metrics against scikit-learn, by hand, and by what must leave them unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from xlite.errors import InputError
from xlite.metrics.multilabel import (
    DeadLabels,
    Evaluation,
    evaluate_multilabel,
    find_dead_labels,
    ranking_counts,
)

NAN = float("nan")
LABELS = ("Effusion", "Hernia", "Mass", "Nodule")


def random_case(seed: int, *, num_rows: int = 60, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities full of ties, all four labels with both classes."""
    rng = np.random.default_rng(seed)
    probs = rng.random((num_rows, 4)).round(decimals)
    targets = (rng.random((num_rows, 4)) < 0.3).astype(np.float32)
    targets[0], targets[1] = 1, 0
    return probs, targets


@pytest.mark.parametrize("decimals", [1, 8])
def test_every_scalar_is_scikit_learns(decimals: int) -> None:
    probs, targets = random_case(0, decimals=decimals)
    predicted = probs >= 0.5
    scalars = evaluate_multilabel(probs, targets, LABELS).scalars
    expected: dict[str, float] = {}
    for average in ("macro", "micro"):
        expected |= {
            f"auc_{average}": sk.roc_auc_score(targets, probs, average=average),
            f"pr_auc_{average}": sk.average_precision_score(targets, probs, average=average),
            f"f1_{average}": sk.f1_score(targets, predicted, average=average),
            f"precision_{average}": sk.precision_score(targets, predicted, average=average),
            f"recall_{average}": sk.recall_score(targets, predicted, average=average),
        }
    rows = targets.any(axis=1)
    assert not rows.all()
    expected["hamming"] = sk.hamming_loss(targets, predicted)
    expected["label_ranking_ap"] = sk.label_ranking_average_precision_score(targets[rows], probs[rows])
    expected["coverage"] = sk.coverage_error(targets[rows], probs[rows])
    assert scalars == pytest.approx(expected, rel=1e-12)


def test_every_label_metric_is_scikit_learns_on_its_known_rows() -> None:
    probs, targets = random_case(1)
    targets[2:50:3, 1] = NAN
    evaluation = evaluate_multilabel(probs, targets, LABELS, threshold=0.7)
    for i, label in enumerate(LABELS):
        known = ~np.isnan(targets[:, i])
        truth, scores = targets[known, i], probs[known, i]
        assert evaluation.per_label[label] == pytest.approx(
            {
                "auc": sk.roc_auc_score(truth, scores),
                "pr_auc": sk.average_precision_score(truth, scores),
                "f1": sk.f1_score(truth, scores >= 0.7),
                "precision": sk.precision_score(truth, scores >= 0.7),
                "recall": sk.recall_score(truth, scores >= 0.7),
                "prevalence": truth.mean(),
                "num_positive": truth.sum(),
                "num_known": known.sum(),
                "predicted_positive_rate": (scores >= 0.7).mean(),
            }
        )


def test_micro_averages_and_hamming_run_over_all_known_entries() -> None:
    probs, targets = random_case(2)
    targets[5:30, 0] = NAN
    known = ~np.isnan(targets)
    scalars = evaluate_multilabel(probs, targets, LABELS).scalars
    assert scalars["auc_micro"] == pytest.approx(sk.roc_auc_score(targets[known], probs[known]))
    assert scalars["pr_auc_micro"] == pytest.approx(sk.average_precision_score(targets[known], probs[known]))
    assert scalars["f1_micro"] == pytest.approx(sk.f1_score(targets[known], probs[known] >= 0.5))
    assert scalars["hamming"] == pytest.approx(np.mean(targets[known] != (probs[known] >= 0.5)))


def test_ranking_metrics_leave_out_rows_without_a_positive_and_rows_with_unknown_labels() -> None:
    probs = np.array([[0.9, 0.8, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4], [0.9, 0.1, 0.1, 0.1]])
    targets = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, NAN, 0]])
    scalars = evaluate_multilabel(probs, targets, LABELS).scalars
    assert (scalars["label_ranking_ap"], scalars["coverage"]) == (0.5, 2.0)
    targets[0, 2] = NAN
    scalars = evaluate_multilabel(probs, targets, LABELS).scalars
    assert "label_ranking_ap" not in scalars and "coverage" not in scalars


def test_a_label_with_one_class_leaves_the_macro_averages_and_is_named() -> None:
    probs, targets = random_case(3)
    targets[:, 1], targets[:, 2], targets[:, 3] = 0, NAN, 1
    evaluation = evaluate_multilabel(probs, targets, LABELS)
    assert evaluation.undefined == ("Hernia", "Mass", "Nodule")
    assert evaluation.notes == (
        "left out of macro averages, no positive: Hernia",
        "left out of macro averages, no known value: Mass",
        "left out of macro averages, no negative: Nodule",
    )
    for name in ("auc", "pr_auc", "f1", "precision", "recall"):
        assert evaluation.scalars[f"{name}_macro"] == evaluation.per_label["Effusion"][name]
    assert set(evaluation.per_label["Hernia"]) == {"num_positive", "num_known", "prevalence", "predicted_positive_rate"}
    assert evaluation.per_label["Mass"] == {"num_positive": 0, "num_known": 0}


def test_complete_labels_leave_no_note() -> None:
    evaluation = evaluate_multilabel(*random_case(4), LABELS)
    assert evaluation.notes == () and evaluation.undefined == ()


@pytest.mark.parametrize("bad", [NAN, float("inf"), 1.5, -0.1])
def test_a_prediction_that_is_no_probability_names_its_label_and_row(bad: float) -> None:
    probs, targets = random_case(5)
    probs[7, 2] = bad
    targets[7, 2] = NAN
    with pytest.raises(ValueError, match=r"prediction of 'Mass' in row 7 is (not finite|outside \[0, 1\])"):
        evaluate_multilabel(probs, targets, LABELS)


@pytest.mark.parametrize("targets", [np.zeros((0, 4)), np.zeros((3, 4)), np.ones((3, 4)), np.full((3, 4), NAN)])
def test_no_label_with_both_classes_is_an_error_a_person_can_read(targets: np.ndarray) -> None:
    with pytest.raises(InputError, match=f"both a positive and a negative among the {len(targets)} rows"):
        evaluate_multilabel(np.full(targets.shape, 0.5), targets, LABELS)


def test_thresholds_may_differ_per_label() -> None:
    probs, targets = random_case(6)
    thresholds = np.array([0.1, 0.3, 0.6, 0.9])
    evaluation = evaluate_multilabel(probs, targets, LABELS, threshold=thresholds)
    for i, label in enumerate(LABELS):
        assert evaluation.per_label[label]["f1"] == pytest.approx(
            sk.f1_score(targets[:, i], probs[:, i] >= thresholds[i])
        )


scores_with_ties = hnp.arrays(np.float64, (12, 2), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))
some_targets = hnp.arrays(np.float32, (12, 2), elements=st.sampled_from([0.0, 1.0, NAN]))


def with_both_classes(targets: np.ndarray) -> np.ndarray:
    return np.concatenate([[[0, 1], [1, 0]], targets[2:]])


@settings(deadline=None, max_examples=60)
@given(scores_with_ties, some_targets)
def test_auc_is_unchanged_by_a_monotone_map_and_equals_scikit_learn(probs: np.ndarray, targets: np.ndarray) -> None:
    targets = with_both_classes(targets)
    before = evaluate_multilabel(probs, targets, ("a", "b"))
    after = evaluate_multilabel(np.sqrt(probs) * 0.9 + 0.05, targets, ("a", "b"))
    for name in ("auc_macro", "auc_micro", "pr_auc_macro", "pr_auc_micro", "label_ranking_ap", "coverage"):
        assert before.scalars.get(name) == after.scalars.get(name)
    for i, label in enumerate("ab"):
        known = ~np.isnan(targets[:, i])
        expected = sk.roc_auc_score(targets[known, i], probs[known, i])
        assert before.per_label[label]["auc"] == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(scores_with_ties, some_targets, st.lists(st.integers(2, 11), max_size=8))
def test_masking_rows_equals_dropping_them(probs: np.ndarray, targets: np.ndarray, rows: list[int]) -> None:
    targets = with_both_classes(targets)
    masked = targets.copy()
    masked[rows] = NAN
    dropped = evaluate_multilabel(np.delete(probs, rows, 0), np.delete(targets, rows, 0), ("a", "b"))
    assert evaluate_multilabel(probs, masked, ("a", "b")) == dropped


def test_ranking_counts_of_ties_by_hand() -> None:
    distinct, true_positives, false_positives = ranking_counts(
        np.array([0.5, 0.9, 0.5, 0.1]), np.array([True, False, False, True])
    )
    np.testing.assert_array_equal(distinct, [0.9, 0.5, 0.1])
    np.testing.assert_array_equal(true_positives, [0, 1, 2])
    np.testing.assert_array_equal(false_positives, [1, 2, 2])


def evaluation_with_dead(dead: int, of: int, *, absent: int = 0) -> Evaluation:
    """`dead` of `of` labels never predicted, and `absent` more without a positive."""
    labels = [f"label{i}" for i in range(of + absent)]
    targets = np.zeros((4, of + absent))
    targets[:2, :of] = 1
    probs = np.full(targets.shape, 0.6)
    probs[:, :dead] = 0.4
    probs[:, of:] = 0.4
    return evaluate_multilabel(probs, targets, labels)


def test_a_dead_label_has_positives_and_no_positive_prediction() -> None:
    evaluation = evaluation_with_dead(2, 5, absent=1)
    dead = evaluation.dead_labels
    assert dead == DeadLabels(("label0", "label1"), 5, exclusive=False) and not dead.collapsed
    assert evaluation.per_label["label0"]["f1"] == evaluation.per_label["label0"]["precision"] == 0
    assert dead.note == "2 of 5 labels are decided alike for every image: label0, label1"
    assert evaluation_with_dead(0, 5, absent=1).dead_labels is None


def test_thirteen_dead_labels_of_fourteen_are_called_a_collapse() -> None:
    dead = evaluation_with_dead(13, 14).dead_labels
    assert dead is not None and dead.collapsed
    assert dead.finding == "predictions have collapsed: 13 of 14 labels are decided alike for every image"
    assert dead.note.startswith(f"{dead.finding}: label0, ") and dead.note.endswith("label12")


@pytest.mark.parametrize(("share", "is_dead"), [(0.0, True), (0.3, False), (1.0, True)])
def test_where_thresholds_were_chosen_their_decisions_tell_whether_a_label_is_dead(share: float, is_dead: bool) -> None:
    values = {"num_positive": 3, "predicted_positive_rate": 0.0, "decided_positive_rate": share}
    assert (find_dead_labels({}, {"a": values}) is not None) == is_dead


def test_half_of_the_labels_dead_is_no_collapse_and_one_more_is() -> None:
    half, more = evaluation_with_dead(2, 4).dead_labels, evaluation_with_dead(3, 4).dead_labels
    assert half is not None and more is not None
    assert (half.collapsed, more.collapsed) == (False, True)


def test_a_prediction_for_an_unknown_row_does_not_bring_a_label_to_life() -> None:
    probs = np.array([[0.9, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.1]])
    targets = np.array([[NAN, 1], [1, 1], [0, 1], [0, 0]])
    dead = evaluate_multilabel(probs, targets, ("a", "b")).dead_labels
    assert dead is not None and dead.names == ("a",)
