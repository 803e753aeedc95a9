"""Soft losses without a temperature against values worked out by hand, with masks, and where nothing can be said."""

import math

import numpy as np
import pytest
import torch

from xlite.losses.distillation import cumulative_kd, sigmoid_kd, softmax_kd, without_gaps
from xlite.losses.matching import (
    class_correlation,
    correlation,
    cumulative_mse,
    feature_direction,
    sigmoid_mse,
    softmax_mse,
)

NAN = float("nan")
SHAPED = [sigmoid_mse, softmax_mse, cumulative_mse, correlation, class_correlation]


def random_logits(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 2


def test_mse_by_hand():
    student, teacher = torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[3.0, -2.0], [1.0, 0.0]])
    assert sigmoid_mse(student, teacher).item() == pytest.approx((4 + 0 + 1 + 9) / 4 / 8)
    assert softmax_mse(student, teacher).item() == pytest.approx(((4 + 0) / 4 + (1 + 9) / 4) / 2)
    two = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 4.0]])  # log-odds of Y > 0: 1 and 4
    assert cumulative_mse(*two).item() == pytest.approx(9 / 8)


@pytest.mark.parametrize(
    ("mse", "kd"), [(sigmoid_mse, sigmoid_kd), (softmax_mse, softmax_kd), (cumulative_mse, cumulative_kd)]
)
def test_mse_is_the_limit_of_kl_times_temperature_squared(mse, kd):
    """So alpha weighs both alike. Of softmax: for logits of equal means; of P(Y > k): for two grades."""
    student, teacher = random_logits(6, 2 if mse is cumulative_mse else 4)
    if mse is softmax_mse:
        student, teacher = (x - x.mean(-1, keepdim=True) for x in (student, teacher))
    limit = 1e6 * kd(student, teacher, temperature=1e3).item()
    assert mse(student, teacher).item() == pytest.approx(limit, rel=1e-3)


def test_cumulative_mse_ignores_the_shift_that_a_coral_student_cannot_make():
    student, teacher = random_logits(5, 4)
    assert cumulative_mse(student, teacher + 7).item() == pytest.approx(cumulative_mse(student, teacher).item())
    assert softmax_mse(student, teacher + 7) > softmax_mse(student, teacher) + 1


def test_correlation_by_hand():
    """Column 0: r = 1; column 1: r = -1; column 2: deviations (-1, 0, 1) and (-1, 1, 0), so r = 1/2."""
    student = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 1.0], [3.0, 3.0, 2.0]])
    teacher = torch.tensor([[10.0, 6.0, 0.0], [20.0, 4.0, 2.0], [30.0, 2.0, 1.0]])
    by_label = [correlation(student[:, [k]], teacher[:, [k]]).item() for k in range(3)]
    assert by_label == pytest.approx([0, 2, 0.5], abs=1e-6)
    assert correlation(student, teacher).item() == pytest.approx(2.5 / 3, abs=1e-6)


def test_correlation_is_numpy_s_and_sees_neither_scale_nor_offset_of_a_label():
    student, teacher = random_logits(20, 3)
    expected = np.mean([1 - np.corrcoef(student[:, k], teacher[:, k])[0, 1] for k in range(3)])
    assert correlation(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    moved = teacher * torch.tensor([0.1, 1.0, 30.0]) + torch.tensor([5.0, -2.0, 0.0])
    assert correlation(student, moved).item() == pytest.approx(expected, rel=1e-9)


def test_a_label_of_which_the_teacher_says_the_same_of_all_is_left_out_of_the_correlation():
    student, teacher = random_logits(8, 2)
    teacher[:, 1] = 3.3
    student.requires_grad_()
    value = correlation(student, teacher)
    assert value.item() == pytest.approx(correlation(student[:, :1], teacher[:, :1]).item())
    value.backward()
    assert student.grad is not None and (student.grad[:, 1] == 0).all() and (student.grad[:, 0] != 0).any()


def test_a_student_that_says_the_same_of_all_still_learns_from_the_correlation():
    student = torch.zeros(8, 1, requires_grad=True)
    teacher = torch.arange(8.0)[:, None]
    value = correlation(student, teacher)
    value.backward()
    assert value.item() == 1 and student.grad is not None and torch.isfinite(student.grad).all()
    assert (student.grad[:4] > 0).all() and (student.grad[4:] < 0).all()  # a step down the gradient correlates them


@pytest.mark.parametrize("loss", [correlation, class_correlation])
def test_one_example_has_no_correlation(loss):
    student, teacher = random_logits(1, 3)
    value = loss(student.requires_grad_(), teacher)
    value.backward()
    assert value.item() == 0 and (student.grad == 0).all()


def test_correlation_of_classes_ignores_a_shift_of_all_of_them():
    student, teacher = random_logits(6, 4)
    shifted = teacher + torch.arange(6.0, dtype=torch.float64)[:, None]
    assert class_correlation(student, shifted).item() == pytest.approx(class_correlation(student, teacher).item())
    assert correlation(student, shifted).item() != pytest.approx(correlation(student, teacher).item(), abs=1e-3)


@pytest.mark.parametrize("loss", [softmax_mse, cumulative_mse, class_correlation])
def test_padding_has_no_part_in_a_sequence_s_loss(loss):
    student, teacher = random_logits(3, 4, 5)
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    student, teacher = student * mask[..., None], teacher * mask[..., None]
    flat = loss(student[mask], teacher[mask]).item()
    assert loss(student, teacher, mask=mask).item() == pytest.approx(flat, rel=1e-9)
    assert loss(student, teacher).item() != pytest.approx(flat, rel=1e-3)


@pytest.mark.parametrize("loss", SHAPED)
def test_where_the_teacher_says_nothing_the_mean_is_over_the_rest(loss):
    student, teacher = random_logits(7, 3)
    by_label = loss in (sigmoid_mse, correlation)
    teacher[[0, 4]] = NAN
    answers, mask = without_gaps(teacher, by_label=by_label)
    student.requires_grad_()
    value = loss(student, answers, mask=mask)
    rest = [1, 2, 3, 5, 6]
    assert value.item() == pytest.approx(loss(student[rest], teacher[rest]).item(), rel=1e-9)
    value.backward()
    assert student.grad is not None and (student.grad[[0, 4]] == 0).all() and torch.isfinite(student.grad).all()


def test_one_label_may_be_silent_by_itself_and_an_answer_of_classes_may_not():
    teacher = torch.tensor([[NAN, 1.0], [2.0, 3.0]])
    answers, mask = without_gaps(teacher, by_label=True)
    assert answers.tolist() == [[0, 1], [2, 3]] and mask.tolist() == [[False, True], [True, True]]
    assert without_gaps(teacher, by_label=False)[1].tolist() == [False, True]
    assert without_gaps(teacher, torch.tensor([True, False]), by_label=False)[1].tolist() == [False, False]


@pytest.mark.parametrize("loss", [*SHAPED, lambda s, t, mask: sigmoid_kd(s, t, temperature=2.0, mask=mask)])
def test_a_teacher_that_says_nothing_at_all_gives_0_and_no_gradient(loss):
    student = random_logits(4, 3)[0].requires_grad_()
    by_label = loss not in (softmax_mse, cumulative_mse, class_correlation)
    answers, mask = without_gaps(torch.full((4, 3), NAN), by_label=by_label)
    value = loss(student, answers, mask=mask)
    value.backward()
    assert value.item() == 0 and student.grad is not None and (student.grad == 0).all()


@pytest.mark.parametrize("loss", SHAPED)
def test_gradients_are_those_of_the_values_and_the_teacher_gets_none(loss):
    student, teacher = random_logits(5, 3, seed=1)
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student.requires_grad_())
    loss(student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("loss", SHAPED)
def test_they_are_float32_under_bfloat16_autocast(loss):
    student, teacher = (x.bfloat16() for x in random_logits(5, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32


def test_feature_direction_by_hand():
    student = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    teacher = torch.tensor([[7.0, 0.0], [5.0, 0.0], [1.0, 0.0]])
    expected = (0 + (1 - 1 / math.sqrt(2)) + 2) / 3
    assert feature_direction(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    zeros = torch.zeros(2, 3, requires_grad=True)
    feature_direction(zeros, torch.ones(2, 3)).backward()
    assert zeros.grad is not None and torch.isfinite(zeros.grad).all()
