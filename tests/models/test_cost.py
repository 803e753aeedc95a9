"""Counted costs equal those of the built student and its file."""

from pathlib import Path

import pytest
import torch

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models.artifact import save_artifact, state_copy
from xlite.models.build import build_model
from xlite.models.cost import count_cost


@pytest.mark.parametrize(
    ("backbone", "attention"),
    [("mobilenetv3_small_050", "none"), ("mobilenetv3_small_100", "performer"), ("resnet18", "mhsa")],
)
def test_counted_cost_is_that_of_the_saved_student(tmp_path: Path, backbone: str, attention: str) -> None:
    config = ModelConfig(backbone=backbone, attention=attention)
    student = build_model(config, num_labels=14, seed=0)
    save_artifact(
        tmp_path,
        "student",
        state_copy(student),
        {"labels": ["label"] * 14, "model": config.model_dump(), "in_channels": 1, "image_size": 64},
    )
    cost = count_cost(config, 14, 1, 64)
    assert cost.num_params == sum(parameter.numel() for parameter in student.parameters())
    assert cost.size_mb == pytest.approx((tmp_path / "student.safetensors").stat().st_size / 1e6, rel=0.01)
    assert cost.latency_ms is None


@pytest.mark.parametrize(("backbone", "num_millions"), [("efficientnet_b0", 11.4), ("convnext_tiny", 30.5)])
def test_parameters_with_attention_are_near_the_published_runs(backbone: str, num_millions: float) -> None:
    cost = count_cost(ModelConfig(backbone=backbone, attention="mhsa"), 14, 1, 64)
    assert cost.num_params / 1e6 == pytest.approx(num_millions, abs=0.05)


def test_counting_needs_no_weights_to_start_from_and_changes_no_random_state() -> None:
    state = torch.get_rng_state()
    expected = count_cost(ModelConfig(backbone="resnet18"), 14, 1, 64)
    assert count_cost(ModelConfig(backbone="resnet18", pretrained=True), 14, 1, 64) == expected
    assert count_cost(ModelConfig(backbone="resnet18", weights="none.safetensors"), 14, 1, 64) == expected
    assert count_cost(ModelConfig(backbone="resnet18"), 14, 3, 64).num_params > expected.num_params
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(InputError, match=r"model.backbone=resnet81"):
        count_cost(ModelConfig(backbone="resnet81"), 14, 1, 64)
