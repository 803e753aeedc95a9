"""Subgroups: each one's figures are scikit-learn's on its rows; differences with intervals, or too few."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score, roc_auc_score

from xlite.evaluate.mistakes import worst_cases
from xlite.evaluate.subgroups import JudgedRows, subgroups_of, to_json
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL

N = 400


@pytest.fixture(scope="module")
def labelled():
    """Two labels, the second unknown in a third of the rows; in subgroup F scores are noise."""
    rng = np.random.default_rng(0)
    sex = np.where(rng.random(N) < 0.4, "F", "M")
    truth = (rng.random((N, 2)) < 0.3).astype(float)
    noise = rng.random((N, 2))
    answers = np.where((sex == "F")[:, None], noise, 0.3 * truth + 0.7 * noise)
    targets = truth.copy()
    targets[rng.random(N) < 0.33, 1] = np.nan
    groups = np.array([f"p{i // 2}" for i in range(N)])
    return JudgedRows(answers, answers >= 0.5, targets, groups, ("a", "b")), sex


def test_each_label_of_each_subgroup_is_scikit_learn_s(labelled):
    rows, sex = labelled
    found = subgroups_of(rows, sex, MULTILABEL)
    assert list(found) == ["M", "F"]
    for name, one in found.items():
        for place, label in enumerate(rows.labels):
            used = (sex == name) & ~np.isnan(rows.targets[:, place])
            truth, decided = rows.targets[used, place], rows.decisions[used, place]
            assert one.per_label[label] == pytest.approx(
                {
                    "count": used.sum(),
                    "positives": truth.sum(),
                    "auc": roc_auc_score(truth, rows.answers[used, place]),
                    "sensitivity": recall_score(truth, decided),
                    "specificity": recall_score(1 - truth, ~decided),
                    "precision": precision_score(truth, decided),
                    "f1": one.per_label[label]["f1"],
                }
            )
        assert one.score == pytest.approx(np.mean([one.per_label[label]["auc"] for label in rows.labels]))
        assert one.interval.low < one.score < one.interval.high


def test_a_subgroup_that_is_served_worse_is_found_and_one_that_is_not_is_not(labelled):
    rows, sex = labelled
    worse = subgroups_of(rows, sex, MULTILABEL)["F"]
    assert worse.differs and worse.difference.high < 0
    by_chance = np.where(np.arange(N) // 2 % 2, "even", "odd")
    *_, other = subgroups_of(rows, by_chance, MULTILABEL).values()
    assert not other.differs and other.difference.low < 0 < other.difference.high


def test_a_small_subgroup_has_counts_and_no_claims_and_unknown_rows_belong_to_none(labelled):
    rows, _ = labelled
    sex = np.where(np.arange(N) < 12, "small", np.where(np.arange(N) < 30, "", "rest"))
    found = subgroups_of(rows, sex, MULTILABEL)
    assert list(found) == ["rest", "small"]
    small = found["small"]
    assert (small.images, small.patients, small.score, small.difference) == (12, 6, None, None)
    assert small.interval.note == "too few" and to_json(found)["small"]["interval_95"] is None
    assert small.per_label["a"]["count"] == 12


@pytest.fixture(scope="module")
def lines():
    """100 windows of 3 lines, three classes; the last line of each is unknown."""
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=(100, 3))
    answers = rng.dirichlet(np.ones(3), size=(100, 3)) * 0.5 + 0.5 * np.eye(3)[truth]
    wrong = rng.random((100, 3)) < 0.3
    answers[wrong] = rng.dirichlet(np.ones(3), size=wrong.sum())
    targets = np.eye(3)[truth]
    targets[:, 2] = np.nan
    decisions = np.eye(3, dtype=bool)[answers.argmax(axis=-1)]
    return JudgedRows(answers, decisions, targets, np.arange(100).astype(str), ("x", "y", "z")), truth


def test_classes_of_lines_are_judged_by_subgroup_too(lines):
    rows, truth = lines
    site = np.where(np.arange(100) < 60, "one", "two")
    found = subgroups_of(rows, site, MULTICLASS)
    for name, one in found.items():
        known, guess = truth[site == name][:, :2].ravel(), rows.answers[site == name][:, :2].argmax(axis=-1).ravel()
        assert one.score == pytest.approx(balanced_accuracy_score(known, guess))
        assert one.per_label["x"]["count"] == 2 * one.images
        assert one.per_label["x"]["sensitivity"] == pytest.approx(recall_score(known == 0, guess == 0))


def test_the_worst_cases_are_the_highest_negatives_and_lowest_positives(labelled, lines):
    rows, _ = labelled
    cases = worst_cases(rows)[1]
    scores, truth = rows.answers[:, 1], rows.targets[:, 1]
    assert [case.probability for case in cases.negatives] == sorted(scores[truth == 0])[::-1][:4]
    assert [case.probability for case in cases.positives] == sorted(scores[truth == 1])[:4]
    assert all(case.wrong == (case.probability >= 0.5) and case.line is None for case in cases.negatives)
    rows, _ = lines
    (first, *_), *_ = (cases.positives for cases in worst_cases(rows))
    of_x = np.where(rows.targets[..., 0] == 1, rows.answers[..., 0], np.inf)
    assert (first.row, first.line) == np.unravel_index(of_x.argmin(), of_x.shape)
    assert len({case.row for case in worst_cases(rows)[0].positives}) == 4
