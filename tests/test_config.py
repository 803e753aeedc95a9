"""A run's configuration refuses what it does not know, at once and in one line."""

import pytest

from xlite.config import REMOVED_KEYS, RunConfig, flatten, parse_assignment
from xlite.errors import InputError


def test_an_override_changes_one_key_and_leaves_the_rest():
    base = RunConfig()
    changed = base.override({"optim.learning_rate": 0.01}, source="--set")
    assert changed.optim.learning_rate == 0.01
    assert {k: v for k, v in flatten(changed).items() if v != flatten(base)[k]} == {"optim.learning_rate": 0.01}
    assert base.optim.learning_rate == 1e-3


def test_a_removed_key_at_the_value_that_is_left_changes_nothing():
    assert RunConfig().override({**REMOVED_KEYS, "distill.alpha": 0.5}, source="test") == RunConfig().override(
        {"distill.alpha": 0.5}, source="test"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.bakbone": "resnet18"}, ["unknown key 'model.bakbone'", "backbone"]),
        ({"modell.backbone": "resnet18"}, ["unknown key", "sections are model"]),
        ({"optim.batch_size": "32"}, ["optim.batch_size='32'", "integer"]),
        ({"optim.batch_size": True}, ["optim.batch_size=True"]),
        ({"optim.learning_rate": 0}, ["optim.learning_rate=0", "greater than 0"]),
        ({"optim.learning_rate": float("nan")}, ["optim.learning_rate=nan"]),
        ({"distill.alpha": 1.5}, ["distill.alpha=1.5", "less than or equal to 1"]),
        ({"model.attention": "self"}, ["model.attention='self'", "mhsa"]),
        ({"optim.warmup_epochs": 15}, ["optim.warmup_epochs < train.epochs", "train.epochs=15"]),
        ({"distill.loss": "mse"}, ["distill.loss='mse' was taken out", "only 'kl' is left"]),
        ({"distill.feature_weight": 0.5}, ["distill.feature_weight=0.5 was taken out", "only 0.0 is left"]),
        ({"model.pretrained": True, "model.weights": "w.safetensors"}, ["exclude each other"]),
    ],
)
def test_a_bad_override_is_one_line_with_source_key_and_rule(changes, words):
    with pytest.raises(InputError) as caught:
        RunConfig().override(changes, source="my_space.py")
    message = str(caught.value)
    assert message.startswith("my_space.py: ") and "\n" not in message
    assert all(word in message for word in words), message


def test_assignments_read_json_values_and_plain_words():
    assert parse_assignment("optim.batch_size=16") == ("optim.batch_size", 16)
    assert parse_assignment("model.pretrained=false") == ("model.pretrained", False)
    assert parse_assignment("model.backbone=resnet18") == ("model.backbone", "resnet18")
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_assignment("resnet18")


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().optim.learning_rate = 1.0
