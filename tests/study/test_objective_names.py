"""`--objectives`: what may be named, and what is said of the rest."""

import numpy as np
import pytest

from xlite.device import choose_device
from xlite.errors import InputError
from xlite.study.model_costs import latency_target
from xlite.study.objectives import check_before_data, resolve_objectives
from xlite.tasks import TASKS
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL, ORDINAL, TARGET_SPECS


def test_directions_are_known_and_the_result_resolves_to_itself() -> None:
    found = resolve_objectives(["auc", "latency_ms", "size_mb", "params", "hamming"], MULTILABEL)
    assert found == ("auc_macro:max", "latency_ms:min", "size_mb:min", "params:min", "hamming:min")
    assert resolve_objectives(found, MULTILABEL) == found
    assert resolve_objectives(["balanced_accuracy", "auc"], MULTICLASS) == ("balanced_accuracy:max", "auc_macro:max")
    assert resolve_objectives([], MULTILABEL) == ()


def test_a_low_score_is_maximised_by_its_negative() -> None:
    from dataclasses import replace

    low = replace(MULTICLASS, metric="log_loss", direction="minimize")
    for text in ("log_loss", "log_loss:min", "neg_log_loss"):
        assert resolve_objectives([text, "size_mb"], low) == ("neg_log_loss:max", "size_mb:min")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("auc,speed", r"speed: multilabel targets have no such metric; choices: auc_macro \(the first one\), then lat"),
        ("auc,kappa_quadratic", "kappa_quadratic: multilabel targets have no such metric"),
        ("auc,size_mb:max", "size_mb is to be low; leave out :max"),
        ("auc:min,size_mb", "auc_macro is to be high; leave out :min"),
        ("auc,size_mb:down", "write size_mb:max or size_mb:min"),
        ("auc,size_mb,size_mb", "size_mb is there twice; name each once"),
        ("auc,auc_macro", "auc_macro is there twice"),
        ("latency_ms,auc", "begin with auc_macro, the score of these targets"),
        ("auc", "name another one too"),
        ("auc,", ": multilabel targets have no such metric"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_choices(texts: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolve_objectives(texts.split(","), MULTILABEL)


def test_before_the_kind_is_known_any_kind_may_fit() -> None:
    check_before_data(["balanced_accuracy", "size_mb"], TASKS["images"])
    with pytest.raises(InputError, match="no such metric"):
        check_before_data(["balanced_accuracy", "speed"], TASKS["images"])
    with pytest.raises(InputError, match="no such metric"):
        check_before_data(["balanced_accuracy", "size_mb"], TASKS["chestxray14"])


@pytest.mark.parametrize(
    "spec", [*TARGET_SPECS.values(), TASKS["lumbar_spine"].target_spec], ids=lambda spec: spec.kind
)
def test_every_metric_that_may_be_named_is_measured(spec) -> None:
    targets, labels = spec.made_up(64, (3,)), ["a", "b", "c"]
    answers = spec.probabilities(np.random.default_rng(0).normal(size=targets.shape))
    evaluation = spec.judge(answers, targets, labels)
    evaluation = spec.cross_fit(evaluation, answers, targets, labels, groups=np.arange(64))
    assert set(spec.metrics) <= set(evaluation.scalars)
    assert "kappa_quadratic" not in MULTICLASS.metrics and "kappa_quadratic" in ORDINAL.metrics


def test_latency_is_timed_where_it_is_asked_for() -> None:
    here = choose_device(kind="cpu")
    assert latency_target(None, here, 2) == (here, 2)
    device, threads = latency_target("cpu:1", here, 2)
    assert (device.torch_device.type, threads) == ("cpu", 1)
    assert latency_target("cpu", here, 2)[1] == 2
    with pytest.raises(InputError, match=r"--latency-device cpu:9999: this machine has \d+ cores"):
        latency_target("cpu:9999", here, 1)
