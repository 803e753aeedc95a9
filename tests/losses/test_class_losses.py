"""Losses for one class of several, against torch's own and hand-computed values."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.losses.classes import class_weights, coral, cross_entropy, cumulative_logits
from xlite.losses.distillation import cumulative_kd, sigmoid_kd, softmax_kd, unpadded
from xlite.losses.objectives import class_objective

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-2.0, 1.0, 3.0]], dtype=torch.float64)
CLASSES = torch.tensor([0, 2, 1])
ONE_HOT = F.one_hot(CLASSES, 3).double()
WEIGHTS = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torchs(weights):
    expected = F.cross_entropy(LOGITS, CLASSES, weight=weights)
    assert cross_entropy(LOGITS, ONE_HOT, class_weights=weights).item() == pytest.approx(expected.item())


def test_focal_modulation_by_hand():
    p = torch.softmax(LOGITS, dim=-1)[torch.arange(3), CLASSES]
    expected = -((1 - p) ** 1.5 * p.log()).mean()
    assert cross_entropy(LOGITS, ONE_HOT, gamma=1.5).item() == pytest.approx(expected.item())


def test_unknown_rows_do_not_count():
    unknown = torch.cat([ONE_HOT, torch.full((1, 3), torch.nan, dtype=torch.float64)])
    logits = torch.cat([LOGITS, torch.tensor([[9.0, -9.0, 0.0]], dtype=torch.float64)]).requires_grad_()
    for loss in (cross_entropy, coral):
        value = loss(logits, unknown, class_weights=WEIGHTS)
        assert value.item() == pytest.approx(loss(LOGITS, ONE_HOT, class_weights=WEIGHTS).item())
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient[-1].abs().sum() == 0
    assert cross_entropy(LOGITS, torch.full_like(ONE_HOT, torch.nan)).item() == 0


def test_lines_of_a_window_are_rows():
    windows, targets = LOGITS.reshape(1, 3, 3), ONE_HOT.reshape(1, 3, 3)
    assert cross_entropy(windows, targets).item() == pytest.approx(cross_entropy(LOGITS, ONE_HOT).item())


def test_cumulative_logits_are_the_odds_of_a_worse_grade():
    p = torch.softmax(LOGITS, dim=-1)
    above = torch.stack([p[:, 1] + p[:, 2], p[:, 2]], dim=1)
    torch.testing.assert_close(torch.sigmoid(cumulative_logits(LOGITS)), above)


def test_coral_by_hand():
    p = torch.softmax(LOGITS, dim=-1)
    above = torch.stack([p[:, 1] + p[:, 2], p[:, 2]], dim=1)
    truth = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    expected = -(truth * above.log() + (1 - truth) * (1 - above).log()).sum(dim=1).mean()
    assert coral(LOGITS, ONE_HOT).item() == pytest.approx(expected.item())


def test_gradients_stay_finite_at_extreme_logits():
    for loss in (cross_entropy, coral):
        logits = torch.tensor([[80.0, 0.0, -80.0], [-80.0, 80.0, 0.0]], requires_grad=True)
        loss(logits, torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])).backward()
        assert torch.isfinite(logits.grad).all()


def test_weights_from_text_and_from_the_data():
    targets = np.eye(3, dtype=np.float32)[[0] * 6 + [1] * 3 + [2]]
    assert class_weights("none", targets, beta=0.99) is None
    np.testing.assert_allclose(class_weights("1,2.5,4", targets, beta=0.99), [1, 2.5, 4])
    np.testing.assert_allclose(class_weights("balanced", targets, beta=0.99), [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)
    with pytest.raises(InputError, match="give 3 numbers"):
        class_weights("1,2", targets, beta=0.99)


def test_cumulative_kd_is_zero_for_the_teacher_itself_and_grows_with_distance():
    teacher = torch.tensor([[3.0, 0.0, -3.0]])
    for temperature in (1.0, 4.0, 16.0):
        assert cumulative_kd(teacher, teacher, temperature=temperature).item() == pytest.approx(0, abs=1e-6)
    near, far = torch.tensor([[0.0, 1.0, -2.0]]), torch.tensor([[-3.0, 0.0, 3.0]])
    assert 0 < cumulative_kd(near, teacher, temperature=2.0) < cumulative_kd(far, teacher, temperature=2.0)


def test_cumulative_kd_softens_classes_first():
    student, teacher, temperature = LOGITS[:1], LOGITS[2:], 3.0
    p = torch.softmax(teacher / temperature, dim=-1)
    above = torch.stack([p[:, 1] + p[:, 2], p[:, 2]], dim=1)
    expected = sigmoid_kd(cumulative_logits(student / temperature), torch.logit(above), temperature=1.0)
    assert cumulative_kd(student, teacher, temperature=temperature).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("kd", [softmax_kd, cumulative_kd])
def test_padded_lines_neither_teach_nor_dilute(kd):
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    student[:, 2], teacher[:, 2] = 0.0, 0.0  # what models give for lines that are not there
    student.requires_grad_()
    alone = kd(student[:, :2], teacher[:, :2], temperature=4.0)
    padded = kd(student, teacher, temperature=4.0, mask=unpadded(teacher))
    assert padded.item() == pytest.approx(alone.item())
    assert torch.allclose(*(torch.autograd.grad(loss, student)[0] for loss in (padded, alone)))
    assert unpadded(torch.zeros(5, 3)) is None  # logits without a sequence axis have no padding
    assert kd(student, torch.zeros(2, 3, 4), temperature=4.0, mask=torch.zeros(2, 3, dtype=torch.bool)).item() == 0


def test_the_training_loss_leaves_padded_lines_out():
    config = RunConfig().override({"loss.name": "cross_entropy", "distill.alpha": 0.5}, source="test")
    student, teacher, targets = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.eye(4)[:3].repeat(2, 1, 1)
    student[:, 2], teacher[:, 2], targets[:, 2] = 0.0, 0.0, torch.nan
    objective = class_objective(config, targets.numpy())
    whole, there = objective(student, targets, teacher), objective(student[:, :2], targets[:, :2], teacher[:, :2])
    assert {name: value.item() for name, value in whole.items()} == pytest.approx(
        {name: value.item() for name, value in there.items()}
    )
