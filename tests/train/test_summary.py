"""What is kept of a run: written and read again it is the same, to the type; what version 0.1.0 wrote is read too."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from record_strategies import evaluations, summaries

from xlite.errors import InputError
from xlite.metrics.multilabel import DeadLabels, Evaluation
from xlite.train.summary import NO_RUN, EvaluationSummary, RunSummary, summary_of


def through_json(values):
    return json.loads(json.dumps(values, allow_nan=False))


@given(summaries | evaluations)
def test_what_is_written_is_read_the_same_to_the_type(summary):
    read = type(summary).from_json(through_json(summary.to_json()), source="test")
    assert read == summary and repr(read) == repr(summary)  # equal numbers of other types differ in their repr


def test_an_evaluation_is_recorded_with_six_decimals_without_nan_and_with_its_dead_labels():
    per_label = {
        "a": {"num_positive": 3, "predicted_positive_rate": 0.0, "auc": 2 / 3},
        "b": {"num_positive": 2, "predicted_positive_rate": 0.5, "auc": math.nan},
        "c": {"num_positive": 0, "predicted_positive_rate": 0.0},
    }
    recorded = summary_of(Evaluation({"auc_macro": 0.1234567}, per_label, ("left out: c",), ("c",)))
    finding = "1 of 2 labels are decided alike for every image: a"
    assert recorded == EvaluationSummary(
        metrics={"auc_macro": 0.123457},
        per_label={**per_label, "a": {**per_label["a"], "auc": 0.666667}, "b": {**per_label["b"], "auc": None}},
        undefined=("c",),
        notes=("left out: c", finding),
        dead_labels=DeadLabels(("a",), 2, exclusive=False),
    )


def test_the_first_version_had_dead_labels_in_a_note_only_and_gets_them_from_its_counts():
    now = summary_of(
        Evaluation(
            {"balanced_accuracy": 0.5},
            {"a": {"num_positive": 3, "predicted_positive_rate": 0.0}, "b": {"num_positive": 0}},
            (),
            (),
        )
    )
    written = {
        key: value for key, value in through_json(now.to_json()).items() if key not in ("version", "dead_labels")
    }
    assert EvaluationSummary.from_json(written, source="test") == now
    assert now.dead_labels == DeadLabels(("a",), 2, exclusive=True)


def test_seconds_are_added_by_kind_and_in_all():
    summary = NO_RUN.with_seconds({"step": 1.5, "data": 0.25}).with_seconds({"step": 1.0})
    assert (summary.seconds, summary.seconds_by_kind) == (2.75, {"step": 2.5, "data": 0.25})


def test_a_curve_with_a_value_that_was_not_finite_is_read():
    (first, second) = RunSummary.from_json({"curve": [None, 0.5]}, source="test").curve
    assert math.isnan(first) and second == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 3}, "trial 7: its record has version 3, this X-Lite reads up to 2; update X-Lite"),
        ({"epochs": "many"}, "trial 7: its record cannot be read: epochs='many': Input should be a valid integer"),
        ({"per_label": {"a": [1]}}, "trial 7: its record cannot be read: per_label.a="),
    ],
)
def test_a_record_that_cannot_be_read_is_one_line(values, message):
    with pytest.raises(InputError) as caught:
        RunSummary.from_json(values, source="trial 7")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_other_keys_are_passed_over():
    summary = replace(NO_RUN, epochs=2)
    assert RunSummary.from_json({**asdict(summary), "version": 2, "number": 3, "stop": ""}, source="test") == summary


def test_the_ledger_reads_summaries_without_pytorch():
    code = "import sys, xlite.ledger; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
