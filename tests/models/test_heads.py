"""Heads: CORAL's classes are ordered, always add up to 1, start at the priors and never lose their gradient."""

import numpy as np
import pytest
import torch

from xlite.config import ModelConfig
from xlite.models.heads import ClassHead, CoralHead, class_log_probabilities, create_head

PRIORS = [0.88, 0.07, 0.05]


def test_the_configuration_names_the_head() -> None:
    assert isinstance(create_head(ModelConfig(head="coral"), 8, 3), CoralHead)
    assert isinstance(create_head(ModelConfig(head="classes"), 8, 3), ClassHead)


@pytest.mark.parametrize("kind", [ClassHead, CoralHead])
@pytest.mark.parametrize("scores", [np.log(PRIORS), [2.0, -2.5, -3.0], [0.0, 0.0, 0.0], [3.0, 90.0, -90.0]])
def test_training_starts_at_the_given_class_probabilities(kind: type, scores) -> None:
    head = kind(8, 3)
    head.set_bias([float(score) for score in scores])
    started = head(torch.zeros(1, 8)).softmax(1)[0]
    expected = torch.tensor(np.asarray(scores), dtype=torch.float64).softmax(0).float()
    assert torch.allclose(started, expected, atol=2e-4)


def test_coral_s_output_is_normalised_log_probabilities_by_the_definition() -> None:
    head = CoralHead(8, 5)
    head.set_bias([0.3, -1.0, 0.2, 1.0, -2.0])
    features = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    out = head(features)
    assert out.shape == (64, 5) and torch.allclose(out.exp().sum(1), torch.ones(64), atol=1e-5)
    above = torch.sigmoid((features @ head.score.weight.T).double() + head.thresholds)  # P(Y > k)
    bounds = torch.cat([torch.ones(64, 1), above, torch.zeros(64, 1)], dim=1)
    assert torch.allclose(out.double().exp(), bounds[:, :-1] - bounds[:, 1:], atol=1e-6)


def test_thresholds_stay_in_order_whatever_training_does() -> None:
    head = CoralHead(8, 4)
    for raw in (-200.0, 0.0, 200.0):
        with torch.no_grad():
            head.raw_gaps.fill_(raw)
        assert (head.thresholds.diff() < 0).all()


def test_a_higher_score_never_means_a_lower_grade() -> None:
    head = CoralHead(1, 3)
    head.set_bias(np.log(PRIORS).tolist())
    with torch.no_grad():
        head.score.weight.fill_(1.0)
    grades = head(torch.linspace(-12, 12, 200)[:, None]).argmax(1)
    assert (grades.diff() >= 0).all() and grades[0] == 0 and grades[-1] == 2


@pytest.mark.parametrize("score", [-1e4, -200.0, 0.0, 200.0, 1e4])
def test_values_and_gradients_are_finite_at_extreme_scores(score: float) -> None:
    above = (torch.tensor([[1.0, 0.999]]) + score).requires_grad_()
    gaps = torch.tensor([1e-3], requires_grad=True)
    out = class_log_probabilities(above, gaps)
    assert out.isfinite().all()
    for k in range(3):
        gradient = torch.autograd.grad(out[0, k], above, retain_graph=True)[0]
        assert gradient.isfinite().all()
    middle = torch.autograd.grad(out[0, 1], [above, gaps])
    assert middle[1].isfinite().all() and middle[1].abs() > 1  # a closed middle class is pushed open


def test_every_parameter_of_coral_learns() -> None:
    head = CoralHead(8, 3)
    features = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    torch.nn.functional.cross_entropy(head(features), torch.arange(32) % 3).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_two_classes_are_enough() -> None:
    head = CoralHead(4, 2)
    head.set_bias([0.0, 2.0])
    assert torch.allclose(head(torch.zeros(1, 4)).exp()[0], torch.tensor([0.0, 2.0]).softmax(0))
