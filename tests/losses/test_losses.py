"""Supervised losses against torch in float64 and against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xlite.config import LossConfig
from xlite.losses.multilabel import bce, focal, make_supervised_loss

NAN = float("nan")


def random_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64) * 3
    targets = torch.randint(0, 2, (6, 4), generator=generator).double()
    return logits, targets


def test_bce_equals_torch_with_and_without_weights() -> None:
    logits, targets = random_batch()
    weights = torch.tensor([0.5, 4.68, 508.6, 1], dtype=torch.float64)
    assert bce(logits, targets) == F.binary_cross_entropy_with_logits(logits, targets)
    expected = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    assert bce(logits, targets, pos_weight=weights) == pytest.approx(expected.item(), rel=1e-12)
    expected = F.binary_cross_entropy_with_logits(logits, targets, weight=weights)
    assert bce(logits, targets, label_weight=weights) == pytest.approx(expected.item(), rel=1e-12)


def test_bce_averages_over_known_entries_only() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 9.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, NAN]])
    assert bce(logits, targets).item() == pytest.approx(math.log(2))


def test_focal_by_hand() -> None:
    logits = torch.tensor([[math.log(3), math.log(3)]], dtype=torch.float64)  # p = 3/4
    targets = torch.tensor([[1.0, 0.0]])
    expected = (0.25 * (1 / 4) ** 2 * -math.log(3 / 4) + 0.75 * (3 / 4) ** 2 * -math.log(1 / 4)) / 2
    assert focal(logits, targets, gamma=2, alpha=0.25).item() == pytest.approx(expected, rel=1e-12)


def test_focal_with_gamma_zero_and_alpha_half_is_half_of_bce() -> None:
    logits, targets = random_batch()
    assert focal(logits, targets, gamma=0, alpha=0.5).item() == pytest.approx(bce(logits, targets).item() / 2)


def test_focal_alpha_may_differ_per_label() -> None:
    logits, targets = random_batch()
    alpha = torch.tensor([0.1, 0.25, 0.5, 0.9], dtype=torch.float64)
    alone = [focal(logits[:, [i]], targets[:, [i]], gamma=2, alpha=float(a)).item() for i, a in enumerate(alpha)]
    assert focal(logits, targets, gamma=2, alpha=alpha).item() == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_focal_is_finite_with_finite_gradients_at_large_logits(gamma: float, size: float) -> None:
    logits = torch.tensor([[size, size, -size, -size]], requires_grad=True)
    value = focal(logits, torch.tensor([[1.0, 0.0, 1.0, 0.0]]), gamma=gamma, alpha=0.25)
    value.backward()
    assert value.item() == pytest.approx((0.75 * size + 0.25 * size) / 4)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    torch.testing.assert_close(logits.grad[0, 1:3], torch.tensor([0.75, -0.25]) / 4)


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_gradients_are_those_of_the_values(name: str) -> None:
    logits, targets = random_batch(1)
    targets[0, 0] = NAN
    weights = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        if name == "bce":
            return bce(x, targets, pos_weight=weights, label_weight=weights)
        return focal(x, targets, gamma=1.5, alpha=weights)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "focal", "bce_focal"])
def test_masking_a_row_equals_dropping_it_and_unknown_entries_get_no_gradient(name: str) -> None:
    loss = make_supervised_loss(LossConfig(name=name), np.eye(4))  # type: ignore[arg-type]
    logits, targets = random_batch(2)
    masked = targets.clone()
    masked[2] = NAN
    logits.requires_grad_()
    value = loss(logits, masked)["hard"]
    kept = [0, 1, 3, 4, 5]
    assert value.item() == pytest.approx(loss(logits[kept], targets[kept])["hard"].item(), rel=1e-12)
    value.backward()
    assert logits.grad is not None and (logits.grad[2] == 0).all() and (logits.grad[kept] != 0).all()


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "focal", "bce_focal"])
def test_a_batch_with_nothing_known_gives_zero_and_zero_gradients(name: str) -> None:
    loss = make_supervised_loss(LossConfig(name=name, focal_alpha_per_label=True), np.eye(4))  # type: ignore[arg-type]
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = loss(logits, torch.full((3, 4), NAN))["hard"]
    value.backward()
    assert value.item() == 0 and logits.grad is not None and (logits.grad == 0).all()


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "focal", "bce_focal"])
def test_losses_are_float32_under_bfloat16_autocast(name: str) -> None:
    loss = make_supervised_loss(LossConfig(name=name), np.eye(4))  # type: ignore[arg-type]
    logits, targets = random_batch()
    logits = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, targets.float())["hard"]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.double(), targets)["hard"].item(), rel=1e-6)


TARGETS = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [0, np.nan], [0, 0], [0, 0], [0, 0]])  # 3 of 8, 1 of 7


def test_negatives_over_positives_weigh_the_positive_terms_alone() -> None:
    loss = make_supervised_loss(LossConfig(name="weighted_bce"), TARGETS)
    logits, targets = random_batch()
    expected = bce(logits[:, :2], targets[:, :2], pos_weight=torch.tensor([5 / 3, 6], dtype=torch.float64))
    value = loss(logits[:, :2], targets[:, :2])
    assert value["bce"] is value["hard"] and set(value) == {"hard", "bce"}
    assert value["hard"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("config", "ratio"),
    [
        (LossConfig(name="weighted_bce", weighting="inverse_frequency", smoothing=1.0, power=0.5), math.sqrt(4 / 2)),
        (LossConfig(name="weighted_bce", weighting="effective_number", beta=0.5), (1 - 0.5**3) / 0.5),
    ],
)
def test_other_weightings_weigh_positive_and_negative_terms_alike_with_mean_one(
    config: LossConfig, ratio: float
) -> None:
    loss = make_supervised_loss(config, TARGETS)
    logits, targets = random_batch()
    weights = torch.tensor([1, ratio], dtype=torch.float64) / (1 + ratio) * 2
    expected = bce(logits[:, :2], targets[:, :2], label_weight=weights)
    assert loss(logits[:, :2], targets[:, :2])["hard"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss.pos_weight is None


def test_bce_focal_is_seven_parts_bce_and_three_parts_focal() -> None:
    logits, targets = random_batch()
    terms = make_supervised_loss(LossConfig(name="bce_focal"), TARGETS)(logits, targets)
    assert terms["bce"] == bce(logits, targets)
    assert terms["focal"] == focal(logits, targets, gamma=2, alpha=0.25)
    assert terms["hard"].item() == pytest.approx(0.7 * terms["bce"].item() + 0.3 * terms["focal"].item())


def test_focal_alpha_per_label_is_the_share_of_negatives_kept_off_the_ends() -> None:
    targets = np.concatenate([TARGETS, np.full((8, 1), np.nan), np.zeros((8, 1)), np.ones((8, 1))], axis=1)
    loss = make_supervised_loss(LossConfig(name="focal", focal_alpha_per_label=True), targets)
    expected = torch.tensor([5 / 8, 6 / 7, 0.5, 0.95, 0.05])
    torch.testing.assert_close(loss.focal_alpha, expected)


def test_moving_to_a_device_moves_the_weights() -> None:
    config = LossConfig(name="weighted_bce", focal_alpha_per_label=True)
    moved = make_supervised_loss(config, TARGETS).to("meta")
    assert moved.pos_weight is not None and moved.pos_weight.device.type == "meta"
    assert isinstance(moved.focal_alpha, torch.Tensor) and moved.focal_alpha.device.type == "meta"
    assert moved.label_weight is None
