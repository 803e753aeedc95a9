"""Learning rate and early stopping as functions of progress and history."""

import itertools

import numpy as np
import pytest
import torch

from xlite.config import OptimConfig
from xlite.train.schedule import best_epoch, learning_rate, plateau_drops, stop_reason


def rates(config, num_epochs=10, steps=4, history=()):
    return [
        learning_rate(config, epoch=e, step=s, steps_per_epoch=steps, num_epochs=num_epochs, history=list(history)[:e])
        for e in range(num_epochs)
        for s in range(steps)
    ]


def test_warm_up_rises_linearly_to_the_peak_and_cosine_falls_to_one_percent():
    got = rates(OptimConfig(learning_rate=0.1, schedule="cosine", warmup_epochs=2))
    np.testing.assert_allclose(got[:8], 0.1 * np.arange(1, 9) / 8)
    assert got[8] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(got[8:]))
    assert 0.001 < got[-1] < 0.002


def test_warm_up_begins_above_a_stated_rate():
    got = rates(OptimConfig(learning_rate=1e-4, schedule="constant", warmup_epochs=2, warmup_from=1e-6))
    np.testing.assert_allclose(got[:8], 1e-6 + 9.9e-5 * np.arange(1, 9) / 8)
    assert set(got[8:]) == {1e-4}
    assert set(rates(OptimConfig(learning_rate=1e-7, schedule="constant", warmup_epochs=2, warmup_from=1e-6))) == {1e-7}


def test_plateau_drops_as_torch_does():
    values = np.random.default_rng(0).random(60).cumsum() % 1.7
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=3, threshold=0.0, threshold_mode="abs"
    )
    for count, value in enumerate(values, start=1):
        torchs.step(value)
        assert 0.5 ** plateau_drops(values[:count], patience=3) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_constant_stays():
    assert set(rates(OptimConfig(learning_rate=0.1, schedule="constant"))) == {0.1}


def test_the_earliest_of_equal_epochs_is_best():
    assert best_epoch([0.5, 0.7, 0.7, 0.6]) == 2


def test_training_stops_at_the_budget_or_after_patience():
    assert stop_reason([0.5, 0.6], num_epochs=5, patience=2) == ""
    assert stop_reason([0.7, 0.6, 0.6], num_epochs=5, patience=2) == "early stopping"
    assert stop_reason([0.1, 0.2, 0.3, 0.4, 0.5], num_epochs=5, patience=2) == "budget"
