"""The first task keeps every promise a task makes, and a task of one's own is found by module and name."""

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.tasks import TASKS, find_task
from xlite.tasks.binary_targets import log_odds, sigmoid

TASK = TASKS["chestxray14"]


def test_every_loss_has_a_gradient_with_and_without_distillation():
    targets = (np.random.default_rng(0).random((64, 14)) < 0.3).astype(np.float32)
    targets[0, 0] = np.nan
    for name in ("bce", "weighted_bce", "focal", "bce_focal"):
        for alpha in (0.0, 0.5, 1.0):
            config = RunConfig().override({"loss.name": name, "distill.alpha": alpha}, source="test")
            logits = torch.zeros(64, 14, requires_grad=True)
            parts = TASK.target_spec.make_objective(config, targets)(
                logits, torch.from_numpy(targets), torch.randn(64, 14)
            )
            parts["loss"].backward()
            assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0
            assert ("soft" in parts) == (alpha > 0)


def test_the_teacher_is_heard_where_the_label_is_unknown():
    config = RunConfig().override({"distill.alpha": 0.5}, source="test")
    targets = np.full((8, 14), np.nan, dtype=np.float32)
    known = np.zeros((8, 14), dtype=np.float32)
    logits = torch.zeros(8, 14, requires_grad=True)
    TASK.target_spec.make_objective(config, known)(logits, torch.from_numpy(targets), torch.full((8, 14), 3.0))[
        "loss"
    ].backward()
    assert (logits.grad < 0).all()


def test_the_head_starts_at_the_base_rates():
    targets = np.array([[1, 0], [0, 0], [np.nan, 0], [1, 0]], dtype=np.float32)
    assert log_odds(targets) == pytest.approx([np.log(2), np.log(0.001 / 0.999)])


def test_probabilities_do_not_overflow():
    np.testing.assert_allclose(sigmoid(np.array([-1000.0, 0.0, 1000.0])), [0.0, 0.5, 1.0])


def test_a_task_of_ones_own_is_found_and_a_wrong_name_is_explained(monkeypatch):
    import types

    module = types.SimpleNamespace(MINE=TASK)
    monkeypatch.setitem(__import__("sys").modules, "my_task", module)
    assert find_task("my_task:MINE") is TASK
    with pytest.raises(InputError, match="known tasks are chestxray14"):
        find_task("chest")
    with pytest.raises(InputError, match="my_task:YOURS"):
        find_task("my_task:YOURS")
