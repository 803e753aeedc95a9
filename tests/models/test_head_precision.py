"""Heads and logits are float32, whatever precision the model trains in."""

import pytest
import torch

from xlite.config import ModelConfig
from xlite.models.build import ARCHITECTURES, build_model, call

TINY = {
    "image": {"backbone": "lcnet_035", "attention": "mhsa"},
    "slices": {"backbone": "lcnet_035", "num_slices": 3, "level_dim": 8},
    "lines": {"layers": 1, "width": 16, "ffn_width": 16, "attention_heads": 2},
}


def model_and_inputs(architecture, **changes):
    config = ModelConfig(architecture=architecture, dropout=0.0, **TINY[architecture], **changes)
    shape = {"image": (4, 32, 32), "slices": (4, 3, 32, 32, 1), "lines": (4, 6, 32)}[architecture]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 255
    beside = {"slices": torch.tensor([[0], [1], [2], [0]]), "lines": torch.tensor([[6], [3], [1], [6]])}
    model = build_model(config, num_labels=3, image_size=32, seed=0).eval()
    return model, images, beside.get(architecture)


@pytest.mark.parametrize("head", ["classes", "coral"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_under_bf16_logits_keep_the_resolution_of_float32_and_everything_learns(architecture, head):
    model, images, beside = model_and_inputs(architecture, head=head)
    model.set_bias([-5.0, -6.0, -7.0])  # of rare labels, where neighbouring bf16 numbers are 1/32 apart
    with torch.autocast("cpu", torch.bfloat16):
        logits = call(model, images, beside)
    assert logits.dtype == torch.float32
    there = logits[logits != 0]  # padded lines have logits of 0
    assert (there != there.bfloat16().float()).float().mean() > 0.9
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
