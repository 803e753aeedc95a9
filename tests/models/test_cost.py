"""Counted costs equal those of the built student and its file; timing leaves everything as it was."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models.artifact import save_artifact, state_copy
from xlite.models.build import build_model
from xlite.models.cost import count_cost, measure_latency


def blank(px: int):
    return torch.zeros(1, px, px, dtype=torch.uint8), None


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


class _Sleeper(nn.Module):
    """Sleeps for a scripted time in ms at each call."""

    in_channels = 3

    def __init__(self, times_ms: list[float]) -> None:
        super().__init__()
        self.times_ms = times_ms
        self.calls: list[tuple[tuple[int, ...], torch.dtype, bool, bool, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = (tuple(x.shape), x.dtype, self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        self.calls.append(state)
        time.sleep(self.times_ms[len(self.calls) - 1] / 1e3)
        return x


def test_latency_is_the_median_after_warm_up_and_the_thread_count_is_put_back() -> None:
    threads = torch.get_num_threads()
    model = _Sleeper([60.0] * 5 + [5.0, 5.0, 40.0]).train()
    latency_ms = measure_latency(model, blank(48), device="cpu", threads=threads + 1, num_runs=3)
    assert 5 <= latency_ms < 40
    assert set(model.calls) == {((1, 48, 48), torch.uint8, False, True, threads + 1)}
    assert torch.get_num_threads() == threads
    assert model.training


def test_the_thread_count_is_put_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(IndexError):
        measure_latency(_Sleeper([]), blank(48), device="cpu", threads=threads + 1)
    assert torch.get_num_threads() == threads


@pytest.mark.gpu
def test_latency_on_cuda_is_synchronised() -> None:
    student = build_model(ModelConfig(), num_labels=14, seed=0)
    assert measure_latency(student, blank(64), device="cuda", threads=1, num_runs=5) > 0.1
