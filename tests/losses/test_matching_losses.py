"""The loss between features against a value worked out by hand."""

import math

import pytest
import torch

from xlite.losses.matching import feature_direction


def test_feature_direction_by_hand():
    student = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    teacher = torch.tensor([[7.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    expected = (0 + (1 - 1 / math.sqrt(2)) + 2) / 3
    assert feature_direction(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    zeros = torch.zeros(2, 3, requires_grad=True)
    feature_direction(zeros, torch.ones(2, 3)).backward()
    assert zeros.grad is not None and torch.isfinite(zeros.grad).all()
