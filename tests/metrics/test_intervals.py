"""Intervals of all metrics: what they hold, what they cover, and where none is claimed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binomtest

from xlite.metrics.intervals import MetricIntervals, score_interval
from xlite.metrics.resampling import Interval
from xlite.metrics.weighted import weighted_macro_auc
from xlite.tasks.lumbar_spine import LUMBAR_SPINE
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL


def intervals(probs, targets, groups, *, thresholds=None, target_spec=MULTILABEL, num_resamples=200, seed=0):
    labels = [f"label{i}" for i in range(targets.shape[-1])]
    return target_spec.intervals(
        probs, targets, labels, groups=groups, thresholds=thresholds or {}, seed=seed, num_resamples=num_resamples
    )


def case(seed=0, *, num_patients=150, positives=(60, 30)):
    """Two rows a patient, labels with so many positives, of AUC 0.8."""
    rng = np.random.default_rng(seed)
    num = 2 * num_patients
    targets = np.stack([rng.permutation(num) < count for count in positives], axis=1).astype(float)
    scores = rng.normal(size=targets.shape) + 2**0.5 * ndtri(0.8) * targets
    return 1 / (1 + np.exp(-scores)), targets, np.arange(num) // 2


def test_every_metric_has_one_and_it_holds_the_metric():
    probs, targets, groups = case(positives=(60, 50))
    thresholds = {"label0": 0.6, "label1": 0.8}
    found = intervals(probs, targets, groups, thresholds=thresholds)
    evaluation = MULTILABEL.judge(probs, targets, ["label0", "label1"])
    evaluation = MULTILABEL.at_thresholds(evaluation, probs, targets, ["label0", "label1"], thresholds=thresholds)
    assert found.scalars.keys() == evaluation.scalars.keys()
    for name, value in evaluation.scalars.items():
        assert found.scalars[name].low < value < found.scalars[name].high, name
    no_metrics = {"num_positive", "num_known", "prevalence", "predicted_positive_rate", "decided_positive_rate"}
    for label, values in evaluation.per_label.items():
        assert found.per_label[label].keys() == values.keys() - no_metrics
        for name, interval in found.per_label[label].items():
            assert interval.low < values[name] < interval.high, (label, name)
    assert json.loads(json.dumps(found.to_json()))["scalars"]["auc_macro"]["note"] == ""


@pytest.mark.parametrize("target_spec", [MULTICLASS, LUMBAR_SPINE.declared_target_spec], ids=lambda spec: spec.kind)
def test_classes_and_grades_with_several_parts_an_example_too(target_spec):
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=(60, 5))
    targets = np.eye(3)[truth]
    probs = target_spec.probabilities(rng.normal(size=targets.shape) + targets)
    targets[:4, 2] = np.nan
    found = intervals(probs, targets, np.arange(60) // 2, target_spec=target_spec)
    evaluation = target_spec.judge(probs, targets, ["label0", "label1", "label2"])
    assert found.scalars.keys() == evaluation.scalars.keys()
    for name, value in evaluation.scalars.items():
        assert found.scalars[name].low < value < found.scalars[name].high, name
    assert found.per_label["label1"]["recall"].low < evaluation.per_label["label1"]["recall"]


@pytest.mark.parametrize("positives, few", [(49, True), (50, False)])
def test_a_pr_auc_of_fewer_than_fifty_positives_has_none_nor_has_its_mean(positives, few):
    probs, targets, groups = case(positives=(60, positives))
    found = intervals(probs, targets, groups)
    label, macro = found.per_label["label1"]["pr_auc"], found.scalars["pr_auc_macro"]
    assert (label.low is None, macro.low is None) == (few, few)
    assert label.note == ("too few: 49 positives" if few else "")
    assert macro.note == ("1 of 2 labels have too few for one of their own" if few else "")
    assert found.per_label["label1"]["auc"].low is not None and found.scalars["auc_macro"].note == ""


def test_of_independent_rows_recall_has_wilsons_interval():
    probs, targets, _ = case(3, positives=(40, 150))
    found = intervals(probs, targets, np.arange(300), num_resamples=3000).per_label["label0"]["recall"]
    hits = int(((probs[:, 0] >= 0.5) & (targets[:, 0] == 1)).sum())
    wilson = binomtest(hits, 40).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=0.01)


def test_a_perfect_ranking_of_ten_positives_is_not_certain():
    """All resamples have an AUC of 1; the percentile interval would be 1 to 1."""
    targets = (np.arange(300) < 10).astype(float)[:, None]
    found = intervals(targets * 0.8 + 0.1, targets, np.arange(300)).per_label["label0"]
    assert found["auc"].high == 1 and 0.85 < found["auc"].low < 0.95
    assert found["recall"].high == 1 and found["recall"].low == pytest.approx(0.722, abs=0.001)  # Wilson, 10 of 10


@pytest.mark.parametrize(
    ("rows", "note"),
    [(9, "too few: 9 positives"), (0, "too few: 0 positives"), (1, "too few: 1 positive"), (10, ""),
     (292, "too few: 8 negatives"), (300, "too few: 0 negatives")],
)  # fmt: skip
def test_a_label_with_too_few_of_a_class_gets_no_interval_but_the_count(rows, note):
    probs, targets, groups = case(positives=(rows, 60))
    found = intervals(probs, targets, groups)
    label = {name: one for name, one in found.per_label["label0"].items() if name != "pr_auc"}  # it needs more
    assert {interval.note for interval in label.values()} == ({note} if rows else set())
    assert all((interval.low is None) == bool(note) for interval in label.values())
    macro = found.scalars["auc_macro"]
    assert macro.low < macro.high
    assert macro.note == ("1 of 2 labels have too few for one of their own" if rows in (9, 1, 292) else "")
    assert "NaN" not in json.dumps(found.to_json())


def test_ten_positives_of_two_patients_are_too_few():
    probs, targets, _ = case(positives=(10, 60))
    groups = np.arange(300)
    groups[targets[:, 0] == 1] = [1000, 1001] * 5
    found = intervals(probs, targets, groups).per_label
    assert found["label0"]["auc"] == Interval(None, None, "too few: 10 positives of 2 patients")
    assert found["label1"]["auc"].note == ""


def test_one_patient_gets_no_interval_at_all():
    probs, targets, groups = case()
    found = intervals(probs, targets, np.zeros_like(groups))
    assert set(found.scalars.values()) == {Interval(None, None, "too few: 1 patient")}
    assert found.per_label["label0"]["auc"].low is None
    assert score_interval(weighted_macro_auc(probs, targets), groups * 0, num_resamples=9, seed=0).low is None


def test_a_label_that_is_never_predicted_has_no_interval_of_precision():
    probs, targets, groups = case()
    found = intervals(probs, targets, groups, thresholds={"label0": 1.0, "label1": 0.5}).per_label["label0"]
    assert found["precision_at_thresholds"] == Interval(None, None, "nothing is predicted positive")
    assert found["recall_at_thresholds"].low == 0 < found["recall_at_thresholds"].high < 0.1
    nothing = intervals(probs * 0.4, targets, groups).scalars
    assert nothing["precision_micro"] == Interval(None, None, "nothing is predicted positive")
    assert nothing["precision_macro"].low == 0 < nothing["precision_macro"].high


def test_a_kind_without_weighted_metrics_has_the_interval_of_its_score_alone():
    probs, targets, groups = case()
    found = intervals(probs, targets, groups, target_spec=replace(MULTILABEL, weighted=None))
    assert list(found.scalars) == ["auc_macro"] and not found.per_label
    assert found.scalars["auc_macro"].low < found.scalars["auc_macro"].high
    assert isinstance(found, MetricIntervals)


def test_intervals_are_seeded():
    probs, targets, groups = case()
    first = intervals(probs, targets, groups)
    assert first == intervals(probs, targets, groups) != intervals(probs, targets, groups, seed=1)


def test_from_ten_positives_on_an_auc_is_covered_where_percentiles_fail():
    """120 data sets of 200 patients, 10 positives, AUC 0.95: the percentile interval covers about 77% of them."""
    rng, covered = np.random.default_rng(0), 0
    for seed in range(60):
        targets = np.stack([rng.permutation(200) < 10 for _ in range(2)], axis=1).astype(float)
        scores = rng.normal(size=targets.shape) + 2**0.5 * ndtri(0.95) * targets
        found = intervals(1 / (1 + np.exp(-scores)), targets, np.arange(200), num_resamples=100, seed=seed).per_label
        covered += sum(values["auc"].low <= 0.95 <= values["auc"].high for values in found.values())
    assert covered >= 0.93 * 120


def test_images_of_one_patient_are_no_more_evidence_than_they_are():
    """Each row three times over: by patient the intervals stay, as if each were a patient of its own they narrow."""
    probs, targets, _ = case(positives=(60, 40))
    single = intervals(probs, targets, np.arange(300))
    three = [np.repeat(array, 3, axis=0) for array in (probs, targets, np.arange(300))]
    by_patient, by_row = intervals(*three), intervals(three[0], three[1], np.arange(900))
    for name in ("auc", "recall", "precision", "f1"):
        one, same, narrow = (found.per_label["label0"][name] for found in (single, by_patient, by_row))
        assert (same.low, same.high) == pytest.approx((one.low, one.high), abs=0.02)
        assert narrow.high - narrow.low < 0.75 * (one.high - one.low)
