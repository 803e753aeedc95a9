"""What the ledger stores of a trial: written and read again it is the same; version 0.1.0's flat records are read."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_strategies import evaluations, finite, names, summaries

from xlite.errors import InputError
from xlite.ledger import Ledger, PromotionRecord, TrialResult, sqlite_url
from xlite.metrics.multilabel import DeadLabels
from xlite.models.limits import Cost
from xlite.train.summary import NO_RUN, EvaluationSummary, RunSummary

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
costs = st.builds(Cost, st.integers(0), finite, st.none() | finite)
promotions = st.builds(
    PromotionRecord,
    identity=names,
    promoted_from=st.integers(0),
    thresholds=names,
    test=evaluations,
    interval=st.tuples(finite, finite),
    reads_of_test=st.integers(1),
    folds=st.lists(finite, max_size=3).map(tuple),
)
results = st.builds(
    TrialResult,
    summary=summaries,
    cost=st.none() | costs,
    reason=names,
    left_out=st.booleans(),
    notes=st.lists(names, max_size=3).map(tuple),
    promotion=st.none() | promotions,
)


@given(results)
def test_what_is_stored_is_read_the_same_to_the_type(result):
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    read = TrialResult.from_json(stored, source="test")
    assert read == result and repr(read) == repr(result)


def test_what_says_nothing_takes_no_place():
    assert TrialResult(reason="loss is nan").to_json() == {"version": 2, "reason": "loss is nan"}


def test_a_row_that_is_stored_again_is_stored_as_it_was(tmp_path):
    """As `unfinished` does with a trial that was cut off while it was recorded as failed."""
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        ledger.enqueue({}, note="baseline")
        ledger.ask(lambda trial: {})
        result = TrialResult(reason="loss is nan", notes=("went on",), cost=Cost(3, 0.5, 1.5))
        ledger.finish(0, "failed", value=None, result=result)
        (row,) = ledger.rows()
    assert (row.queue_note, row.to_json()) == ("baseline", result.to_json())


@pytest.fixture(scope="module")
def stm(tmp_path_factory):
    """The rows of a study that version 0.1.0 made: its trials, then its promotion."""
    file = tmp_path_factory.mktemp("stm") / "study.db"
    shutil.copy(FIXTURES / "study_stm" / "results" / "stm" / "study.db", file)
    with Ledger.open(sqlite_url(file), "stm", create=False) as ledger:
        return [*ledger.rows(), *ledger.finals()]


def label(num_positive, num_known, prevalence, rate, f1, precision, recall, auc, pr_auc):
    return {
        **{"num_positive": num_positive, "num_known": num_known, "prevalence": prevalence},
        **{"predicted_positive_rate": rate, "f1": f1, "precision": precision, "recall": recall},
        **{"auc": auc, "pr_auc": pr_auc},
    }


def test_a_complete_trial_of_version_0_1_0(stm):
    row = stm[0]
    assert row.summary.config["model.layers"] == 1 and len(row.summary.config) == 53
    assert row.summary == RunSummary(
        config=row.summary.config,
        device="cpu",
        epochs=6,
        seconds=0.38,
        seconds_by_kind={"data": 0.016, "step": 0.133, "evaluation": 0.044, "checkpoint": 0.076, "reporting": 0.111},
        device_seconds=0.38,
        curve=(
            *(0.24403683574879226, 0.22184480676328502, 0.21105072463768115),
            *(0.27543780193236717, 0.27853260869565216, 0.29891304347826086),
        ),
        best_epoch=6,
        train_loss=0.735587,
        train_parts={
            **{"loss": 0.735587, "hard": 1.399576, "cross_entropy": 1.399576, "soft": 0.017899},
            **{"balanced_accuracy": 0.287711},
        },
        val_loss=1.492255,
        gap=-0.011202,
        images_per_s=673.1,
        metrics={
            **{"accuracy": 0.380952, "balanced_accuracy": 0.298913, "log_loss": 1.342557, "auc_macro": 0.449142},
            **{"pr_auc_macro": 0.263684, "f1_macro": 0.229548, "precision_macro": 0.186957, "recall_macro": 0.298913},
        },
        per_label={
            "clean": label(23, 63, 0.365079, 0.634921, 0.507937, 0.4, 0.695652, 0.423913, 0.32883),
            "recovering": label(18, 63, 0.285714, 0.0, 0.0, 0.0, 0.0, 0.38642, 0.254282),
            "tip_change": label(6, 63, 0.095238, 0.0, 0.0, 0.0, 0.0, 0.377193, 0.087741),
            "unstable": label(16, 63, 0.253968, 0.365079, 0.410256, 0.347826, 0.5, 0.609043, 0.383881),
        },
        notes=("predictions have collapsed: 2 of 4 classes never predicted: recovering, tip_change",),
        dead_labels=DeadLabels(("recovering", "tip_change"), 4, exclusive=True),
    )
    assert row.cost == Cost(788, 0.00464, 0.32520300004534874)
    assert (row.reason, row.left_out, row.notes, row.promotion) == ("", False, (), None)


def test_a_failed_trial_of_version_0_1_0(stm):
    assert (stm[2].state, stm[2].reason) == ("failed", "the loss is nan at epoch 1, step 1 (learning rate 0.0001)")
    assert stm[2].summary == NO_RUN and stm[2].cost == Cost(788, 0.00464, 0.32520300004534874)


def test_a_promotion_of_version_0_1_0(stm):
    final = stm[-1]
    promotion, test = final.promotion, final.promotion.test
    assert (promotion.promoted_from, promotion.thresholds, promotion.reads_of_test) == (3, "f1", 1)
    assert promotion.identity == "104663378b3364bd" and promotion.folds == ()
    assert (
        promotion.interval == (0.2632486388384755, 0.2632486388384755) and test.metrics["balanced_accuracy"] == 0.263249
    )
    assert test.dead_labels == DeadLabels(("tip_change",), 4, exclusive=True) and type(test) is EvaluationSummary
    assert (final.summary.best_epoch, final.summary.seconds, final.summary.device_seconds) == (1, 0.247, None)


def test_folds_and_what_was_left_out_by_version_0_1_0():
    flat = {
        **{"promoted_from": 3, "promotion": "ab", "thresholds": "f1"},
        "test": {"metrics": {"auc_macro": 0.7}, "interval_95": [0.6, 0.8], "reads_of_test_in_this_study": 2},
        "folds": [{"fold": 1, "value": 0.5}, {"fold": 2, "value": 0.75}],
    }
    test = EvaluationSummary(metrics={"auc_macro": 0.7})
    expected = PromotionRecord("ab", 3, "f1", test, (0.6, 0.8), reads_of_test=2, folds=(0.5, 0.75))
    assert TrialResult.from_json(flat, source="test").promotion == expected
    left_out = {"reason": "left out: 9.00M parameters > --max-params 2M", "left_out": True}
    assert TrialResult.from_json(left_out, source="test") == TrialResult(**left_out)


def test_a_record_of_a_later_version_is_refused_by_the_trial_s_number(tmp_path):
    with Ledger.open(sqlite_url(tmp_path / "s.db"), "s", create=True) as ledger:
        ledger.ask(lambda trial: {})
        ledger._storage.set_trial_user_attr(ledger._study.trials[0]._trial_id, "record", {"version": 3})
        with pytest.raises(InputError, match="trial 0: its record has version 3"):
            ledger.rows()
