"""Distillation losses against torch in float64 and against values worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from xlite.config import DistillConfig, LossConfig, RunConfig
from xlite.losses.classes import cumulative_logits
from xlite.losses.distillation import combine, cumulative_kd, sigmoid_kd, softmax_kd, unpadded, without_gaps
from xlite.losses.multilabel import make_supervised_loss
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL, ORDINAL, TargetSpec

NAN = float("nan")
BOTH = pytest.mark.parametrize("kd", [sigmoid_kd, softmax_kd])
KD = Callable[..., torch.Tensor]


def random_logits(seed: int = 0, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) * scale
    return student, teacher


def test_softmax_kd_is_blind_to_a_shift_that_sigmoid_kd_sees() -> None:
    teacher, student = torch.tensor([[3.0, 3.0]]), torch.tensor([[-3.0, -3.0]])
    p = 1 / (1 + math.exp(-3))
    assert softmax_kd(student, teacher, temperature=1.0).item() == 0
    by_hand = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert sigmoid_kd(student, teacher, temperature=1.0).item() == pytest.approx(by_hand, rel=1e-6)
    assert by_hand == pytest.approx(2.72, abs=0.005)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_sigmoid_kd_is_the_mean_of_cross_entropy_less_entropy(temperature: float) -> None:
    student, teacher = random_logits()
    soft = torch.sigmoid(teacher / temperature)
    cross = F.binary_cross_entropy_with_logits(student / temperature, soft)
    entropy = F.binary_cross_entropy(soft, soft)
    value = sigmoid_kd(student, teacher, temperature=temperature)
    assert value.item() == pytest.approx((cross - entropy).item(), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_softmax_kd_is_torchs_batch_mean(temperature: float) -> None:
    student, teacher = random_logits()
    expected = F.kl_div(
        F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1), reduction="batchmean"
    )
    assert softmax_kd(student, teacher, temperature=temperature).item() == pytest.approx(expected.item(), rel=1e-9)


@BOTH
def test_equal_logits_give_exactly_zero_with_zero_gradient(kd: KD) -> None:
    student, teacher = (x.float() for x in random_logits(scale=20))
    student = teacher.clone().requires_grad_()
    value = kd(student, teacher, temperature=4.0)
    value.backward()
    assert value.item() == 0
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-7, rtol=0)


@BOTH
def test_finite_with_finite_gradients_at_large_logits(kd: KD) -> None:
    student = torch.tensor([[1e4, -1e4, 50.0, 0.0]], requires_grad=True)
    value = kd(student, torch.tensor([[-1e4, 1e4, 49.0, 1e4]]), temperature=1.0)
    value.backward()
    assert value.item() > 1e3 and math.isfinite(value.item())
    assert student.grad is not None and torch.isfinite(student.grad).all()


@BOTH
def test_gradients_are_those_of_the_values_and_the_teacher_gets_none(kd: KD) -> None:
    student, teacher = random_logits(1)
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kd(x, teacher, temperature=2.0), student.requires_grad_())
    kd(student, teacher, temperature=2.0).backward()
    assert teacher.grad is None


@BOTH
def test_temperature_squared_keeps_the_gradient_of_small_logits(kd: KD) -> None:
    student, teacher = random_logits(2, scale=0.01)
    norms = []
    for temperature in (1.0, 2.0, 8.0, 16.0):
        leaf = student.clone().requires_grad_()
        (temperature**2 * kd(leaf, teacher, temperature=temperature)).backward()
        assert leaf.grad is not None
        norms.append(leaf.grad.norm().item())
    assert norms == pytest.approx([norms[0]] * 4, rel=1e-2)


@BOTH
def test_kd_is_float32_under_bfloat16_autocast(kd: KD) -> None:
    student, teacher = (x.bfloat16() for x in random_logits())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = kd(student, teacher, temperature=4.0)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(kd(student.double(), teacher.double(), temperature=4.0).item(), rel=1e-5)


def test_softmax_kd_of_several_questions_is_the_mean_over_them() -> None:
    student, teacher = random_logits()
    twice = softmax_kd(torch.stack([student, student], 1), torch.stack([teacher, teacher], 1), temperature=2.0)
    assert twice.item() == pytest.approx(softmax_kd(student, teacher, temperature=2.0).item())


def binary_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    present = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
    return present + torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))


def earlier_softmax(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def earlier_cumulative(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return binary_kl(cumulative_logits(student), cumulative_logits(teacher)).mean(dim=-1)


EARLIER = {
    "multilabel": (MULTILABEL, "bce", {}, (32, 14), binary_kl),
    "classes": (MULTICLASS, "cross_entropy", {}, (32, 5), earlier_softmax),
    "coral": (ORDINAL, "coral", {"model.head": "coral"}, (32, 5), earlier_cumulative),
    "sequences": (MULTICLASS, "cross_entropy", {}, (8, 6, 5), earlier_softmax),
}


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("kind", EARLIER)
def test_kl_gives_the_numbers_of_version_0_1_0_to_the_last_bit(kind: str, alpha: float) -> None:
    """Loss and gradient by its formulas, written out."""
    spec, name, changes, shape, divergence = EARLIER[kind]
    generator = torch.Generator().manual_seed(4)
    student, teacher = torch.randn(2, *shape, generator=generator) * 3
    targets = torch.eye(shape[-1])[torch.randint(shape[-1], shape[:-1], generator=generator)]
    if len(shape) == 3:
        teacher[:, 4:] = 0.0  # padding
        targets[:, 4:] = float("nan")
    settings = {"distill.alpha": alpha, "distill.temperature": 2.7, "loss.name": name, **changes}
    config = RunConfig().override(settings, source="test")
    objective = spec.objective(config, targets.numpy())
    ours, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    loss = objective(ours, targets, teacher)["loss"]
    entries, mask = divergence(theirs / 2.7, teacher / 2.7), unpadded(teacher) if len(shape) == 3 else None
    soft = entries.mean() if mask is None else torch.where(mask, entries, 0).sum() / mask.sum().clamp(min=1)
    weighted = [(1 - alpha) * objective.loss(theirs, targets)["hard"]] if alpha < 1 else []
    earlier = torch.stack([*weighted, alpha * 2.7**2 * soft]).sum()
    loss.backward()
    earlier.backward()
    assert torch.equal(loss, earlier)
    assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad)


def test_a_silent_teacher_has_no_part_in_kl() -> None:
    student, teacher = random_logits(5)
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[2, 1] = mask[4, 0] = False
    value = sigmoid_kd(student, teacher, temperature=3.0, mask=mask)
    assert value.item() == pytest.approx(binary_kl(student / 3, teacher / 3)[mask].mean().item(), rel=1e-12)
    rows = torch.tensor([True, False, True, True, False])
    for kd in (softmax_kd, cumulative_kd):
        expected = kd(student[rows], teacher[rows], temperature=3.0).item()
        assert kd(student, teacher, temperature=3.0, mask=rows).item() == pytest.approx(expected, rel=1e-12)


def test_one_label_may_be_silent_by_itself_and_an_answer_of_classes_may_not() -> None:
    teacher = torch.tensor([[NAN, 1.0], [2.0, 3.0]])
    answers, mask = without_gaps(teacher, by_label=True)
    assert answers.tolist() == [[0, 1], [2, 3]] and mask.tolist() == [[False, True], [True, True]]
    assert without_gaps(teacher, by_label=False)[1].tolist() == [False, True]
    assert without_gaps(teacher, torch.tensor([True, False]), by_label=False)[1].tolist() == [False, False]


@pytest.mark.parametrize("kd", [sigmoid_kd, softmax_kd, cumulative_kd])
def test_a_teacher_that_says_nothing_at_all_gives_0_and_no_gradient(kd: KD) -> None:
    student = random_logits()[0].requires_grad_()
    answers, mask = without_gaps(torch.full((5, 3), NAN), by_label=kd is sigmoid_kd)
    value = kd(student, answers, temperature=2.0, mask=mask)
    value.backward()
    assert value.item() == 0 and student.grad is not None and (student.grad == 0).all()


@pytest.mark.parametrize(("spec", "name"), [(MULTILABEL, "bce"), (MULTICLASS, "cross_entropy")])
def test_an_objective_told_of_gaps_learns_without_them(spec: TargetSpec, name: str) -> None:
    student, teacher = (x.float() for x in random_logits(6))
    teacher[1] = float("nan")
    targets = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])]
    config = RunConfig().override({"distill.alpha": 0.5, "loss.name": name}, source="test")
    objective = spec.objective(config, targets.numpy())
    objective.has_gaps = True
    leaf = student.clone().requires_grad_()
    terms = objective(leaf, targets, teacher)
    rest = [0, 2, 3, 4]
    objective.has_gaps = False
    assert terms["soft"].item() == pytest.approx(objective(student[rest], targets[rest], teacher[rest])["soft"].item())
    terms["loss"].backward()
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and (leaf.grad[1] != 0).any()  # its label


def hard_terms() -> dict[str, torch.Tensor]:
    return {"hard": torch.tensor(5.0), "bce": torch.tensor(6.0)}


def test_combine_is_alpha_tau_squared_soft_plus_the_rest_hard_plus_focal() -> None:
    config = DistillConfig(temperature=4.0, alpha=0.25, focal_weight=0.5)
    terms = combine(hard_terms(), torch.tensor(2.0), config=config, focal=torch.tensor(3.0))
    assert {name: value.item() for name, value in terms.items()} == {
        "loss": 0.25 * 16 * 2 + 0.75 * 5 + 0.5 * 3,
        "hard": 5.0,
        "bce": 6.0,
        "soft": 2.0,
        "kd_focal": 3.0,
    }


def test_without_alpha_no_teacher_is_needed_and_a_given_one_only_logged() -> None:
    config = DistillConfig(alpha=0.0)
    assert combine(hard_terms(), None, config=config) == {"loss": 5, "hard": 5, "bce": 6}
    assert combine(hard_terms(), torch.tensor(float("nan")), config=config)["loss"] == 5


def test_a_weight_without_its_term_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match=r"alpha=0\.5 needs a teacher"):
        combine(hard_terms(), None, config=DistillConfig(alpha=0.5))
    with pytest.raises(AssertionError, match=r"focal_weight=1\.0 needs"):
        combine(hard_terms(), None, config=DistillConfig(focal_weight=1.0))


def test_alpha_one_learns_from_the_teacher_alone() -> None:
    terms = combine(hard_terms(), torch.tensor(2.0), config=DistillConfig(temperature=3.0, alpha=1.0))
    assert terms["loss"] == 18 and terms["hard"] == 5


def test_rows_without_any_hard_label_still_learn_from_the_teacher() -> None:
    student, teacher = random_logits(3)
    student.requires_grad_()
    targets = torch.tensor([[1.0, 0.0, 1.0]] * 4 + [[float("nan")] * 3])
    hard = make_supervised_loss(LossConfig(), targets.numpy())(student, targets)
    soft = sigmoid_kd(student, teacher, temperature=4.0)
    combine(hard, soft, config=DistillConfig(alpha=0.5))["loss"].backward()
    assert student.grad is not None
    p, q = torch.sigmoid(teacher[4] / 4), torch.sigmoid(student[4].detach() / 4)
    torch.testing.assert_close(student.grad[4], 0.5 * 16 * (q - p) / 4 / student.numel())
