"""The slice student: every part of it learns, the middle slice counts most at first, the level is heard."""

import math

import pytest
import torch

from xlite.config import ModelConfig
from xlite.models.slices import SliceAggregator, SliceStudent


def build(**changes) -> SliceStudent:
    config = ModelConfig(
        architecture="slices", **{"num_slices": 5, "level_dim": 16, "performer_features": 8, "dropout": 0.0, **changes}
    )
    torch.manual_seed(0)
    return SliceStudent(config, num_labels=3, in_channels=3, generator=torch.Generator().manual_seed(0), image_size=32)


@pytest.fixture(autouse=True)
def _own_random_state():
    with torch.random.fork_rng(devices=[]):
        yield


def stacks(num: int = 4, *, slices: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (num, slices, 32, 32, 3), dtype=torch.uint8, generator=generator)


LEVELS = torch.tensor([[0], [1], [4], [2]])


@pytest.mark.parametrize("attention", ["none", "mhsa", "performer"])
@pytest.mark.parametrize("head", ["classes", "coral"])
def test_every_parameter_gets_a_gradient(attention: str, head: str) -> None:
    model = build(attention=attention, head=head)
    logits = model(stacks(), LEVELS)
    assert logits.shape == (4, 3) and logits.dtype == torch.float32 and logits.isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert model.aggregator.log_weights.grad.any() and model.level.weight.grad[[0, 1, 2, 4]].any(dim=1).all()
    assert not model.level.weight.grad[3].any()


def test_slice_weights_start_symmetric_about_a_heaviest_middle() -> None:
    weights = SliceAggregator(7).weights
    assert math.isclose(weights.sum().item(), 1, abs_tol=1e-6) and weights.argmax() == 3
    assert torch.allclose(weights, weights.flip(0)) and (weights[:4].diff() > 0).all() and weights[0] > 0.01


def test_the_aggregator_is_the_weighted_sum_over_slices() -> None:
    features = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    aggregator = SliceAggregator(7)
    expected = sum(weight * features[:, t] for t, weight in enumerate(aggregator.weights))
    assert torch.allclose(aggregator(features), expected, atol=1e-6)


@torch.no_grad()
def test_each_stack_keeps_its_own_slices_and_level() -> None:
    model = build().eval()
    images = stacks()
    together = model(images, LEVELS)
    alone = torch.cat([model(images[k : k + 1], LEVELS[k : k + 1]) for k in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert not torch.allclose(together, model(images, LEVELS.flip(0)), atol=1e-5)
    changed = images.clone()
    changed[0, 4] = 255 - changed[0, 4]
    moved = (model(changed, LEVELS) - together).abs().sum(1)
    assert moved[0] > 0 and torch.allclose(moved[1:], torch.zeros(3), atol=1e-4)


@torch.no_grad()
def test_float_images_in_0_255_mean_the_same_as_bytes() -> None:
    model = build().eval()
    assert torch.equal(model(stacks(), LEVELS), model(stacks().float(), LEVELS))


@torch.no_grad()
@pytest.mark.parametrize("head", ["classes", "coral"])
def test_set_bias_moves_the_answer_to_the_priors(head: str) -> None:
    model = build(head=head).eval()
    model.set_bias([8.0, 0.0, 0.0])
    assert (model(stacks(), LEVELS).softmax(1)[:, 0] > 0.9).all()
    assert (model.num_labels, model.in_channels, model.config.head) == (3, 3, head)


def test_a_stack_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError):
        build()(stacks(slices=7), LEVELS)


def test_it_starts_from_published_weights_and_from_a_file_as_every_student_does(tmp_path) -> None:
    backbone = "tf_efficientnet_lite0"
    published = build(backbone=backbone, pretrained=True)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in published.backbone.body.state_dict().items()}}, tmp_path / "w.pth"
    )
    own = build(backbone=backbone, weights=str(tmp_path / "w.pth"))
    state = published.backbone.body.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.backbone.body.state_dict().items())
    for model in (published, own):
        assert model.normalise.mean.flatten().tolist() == model.normalise.std.flatten().tolist() == [127.5] * 3
