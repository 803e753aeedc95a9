"""The contract of every student: builds, learns in every parameter, depends on its seed alone."""

import pytest
import torch
from torch import nn

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models.attention import AttentionBlock, PerformerAttention
from xlite.models.build import build_model
from xlite.models.student import Student

ATTENTIONS = ("none", "mhsa", "performer")
BACKBONES = (
    *("efficientnet_b0", "mobilenetv3_large_100", "mobilenetv3_small_100"),
    *("mobilenetv3_small_050", "convnext_atto", "resnet18", "densenet121"),
)
FAMILY = [
    *((backbone, attention) for backbone in BACKBONES for attention in ATTENTIONS),
    *(("convnext_tiny", "mhsa"), ("vit_tiny_patch16_224", "none"), ("swin_tiny_patch4_window7_224", "performer")),
]


def _build(backbone: str = "mobilenetv3_small_050", attention: str = "none", **arguments) -> Student:
    config = ModelConfig(backbone=backbone, attention=attention, performer_features=16)
    return build_model(config, **{"num_labels": 14, "seed": 0, **arguments})


def _images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("backbone", "attention"), FAMILY)
def test_every_student_takes_a_step_in_every_parameter(backbone: str, attention: str) -> None:
    student = _build(backbone, attention)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
    logits = student(_images(2, 32, 32))
    assert logits.shape == (2, 14) and logits.dtype == torch.float32 and logits.isfinite().all()
    nn.functional.binary_cross_entropy_with_logits(logits, torch.ones(2, 14)).backward()
    assert [name for name, parameter in student.named_parameters() if parameter.grad is None] == []
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    optimiser.step()
    unmoved = [name for name, p in student.named_parameters() if p.grad.any() and torch.equal(p, before[name])]
    assert unmoved == []
    assert all(parameter.isfinite().all() for parameter in student.parameters())


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_weights_are_a_function_of_the_seed_and_the_global_state_is_left_alone(attention: str) -> None:
    torch.manual_seed(1)
    first, state = _build(attention=attention).state_dict(), torch.get_rng_state()
    torch.manual_seed(2)
    untouched = torch.get_rng_state()
    second = _build(attention=attention).state_dict()
    assert torch.equal(torch.get_rng_state(), untouched)
    assert not torch.equal(state, untouched)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    other = _build(attention=attention, seed=1).state_dict()
    keys = ["head.0.weight", "backbone.body.conv_stem.weight"]
    keys += ["attention.attention.projection"] if attention == "performer" else []
    assert not any(torch.equal(first[key], other[key]) for key in keys)


def test_the_last_bias_starts_at_the_given_values() -> None:
    bias = _build(num_labels=3, bias=[0.5, -0.25, 2.0]).head[-1].linear.bias
    assert bias.tolist() == [0.5, -0.25, 2.0]
    assert _build().head[-1].linear.bias.tolist() == [0.0] * 14


def test_normalisation_is_part_of_the_model() -> None:
    student = _build().eval()
    seen = []
    student.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    student(torch.full((1, 64, 64), 255, dtype=torch.uint8))
    assert torch.allclose(seen[0], torch.full((1, 1, 64, 64), (1 - 0.449) / 0.226))
    colour = _build(in_channels=3).eval()
    colour.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    colour(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert seen[1][0, :, 0, 0].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_grey_images_need_no_channel_axis_and_floats_of_the_same_range_are_taken() -> None:
    student, images = _build().eval(), _images(2, 64, 64)
    with torch.no_grad():
        expected = student(images)
        assert torch.equal(student(images[:, None]), expected)
        assert torch.equal(student(images.float()), expected)


def test_channels_last_and_bf16_agree_with_plain_float32() -> None:
    student, images = _build(attention="performer").eval(), _images(2, 1, 64, 64)
    with torch.no_grad():
        expected = student(images)
        student.to(memory_format=torch.channels_last)
        assert torch.allclose(student(images.contiguous(memory_format=torch.channels_last)), expected, atol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = student(images)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, expected, atol=0.05)


def test_configuration_reaches_the_parts() -> None:
    config = ModelConfig(attention="performer", attention_heads=5, performer_features=7, dropout=0.3)
    student = build_model(config, num_labels=2, seed=0)
    assert isinstance(student.attention, AttentionBlock)
    attention = student.attention.attention
    assert isinstance(attention, PerformerAttention)
    assert attention.num_heads == 4  # 288 features: 5 does not divide them
    assert attention.projection.shape == (7, 72)
    assert [m.p for m in student.head if isinstance(m, nn.Dropout)] == [0.3]


def test_an_image_size_that_does_not_fit_is_refused_when_built() -> None:
    with pytest.raises(InputError, match="levit_128: it does not take 64 px images"):
        _build("levit_128", image_size=64)
