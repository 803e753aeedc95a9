"""Matrix-product convolutions: PyTorch's results for every shape and a whole model, and only where they are faster."""

import copy

import pytest
import torch
from torch import nn

from xlite.config import ModelConfig
from xlite.models import matmul_convolutions
from xlite.models.build import build_model
from xlite.models.matmul_convolutions import MAX_ROWS, use_matmul_convolutions


@pytest.fixture
def used(monkeypatch):
    """The calls of the depthwise backward pass."""
    calls = []
    original = matmul_convolutions._taps
    monkeypatch.setattr(matmul_convolutions, "_taps", lambda *a: calls.append(a) or original(*a))
    return calls


@pytest.fixture
def linear(monkeypatch):
    """A 1 for each call of `linear`."""
    calls = []
    original = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda *a: calls.append(1) or original(*a))
    return calls


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (2, 6), (3, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_the_plain_convolution(used, kernel, stride, size, bias):
    torch.manual_seed(0)
    padding = kernel // 2 if kernel < 7 else 3
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=bias).to(memory_format=torch.channels_last).double()
    fast = copy.deepcopy(plain).float()
    use_matmul_convolutions(fast)
    images = torch.randn(3, 6, *size)
    grads, expected = [], []
    for module, out, dtype in ((fast, grads, torch.float32), (plain, expected, torch.float64)):
        inputs = images.to(dtype, copy=True).requires_grad_()
        (module(inputs).tanh() ** 2).sum().backward()
        out += [inputs.grad, *(p.grad for p in module.parameters())]
    assert len(used) == (max(size) < kernel)
    for ours, theirs in zip(grads, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-5, rtol=1e-4)


def test_a_whole_student_has_the_same_outputs_state_and_gradients(used):
    config = ModelConfig(backbone="mobilenetv3_small_050", pretrained=False)
    plain = build_model(config, num_labels=3, in_channels=1, image_size=64, seed=1)
    fast = copy.deepcopy(plain)
    use_matmul_convolutions(fast)
    assert plain.state_dict().keys() == fast.state_dict().keys()
    images = torch.randint(0, 256, (4, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(images), fast.eval()(images))
    logits = []
    for model in (plain, fast):
        for module in model.train().modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):  # statistics of batches of 4 are too rough
                module.eval()
        logits.append(model(images))
    assert torch.allclose(*logits, atol=1e-6)
    for out in logits:
        out.square().sum().backward()
    assert len(used) == 7  # its 5 x 5 kernels on maps of 4 x 4 and 2 x 2
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5 * float(theirs.grad.abs().max() + 1)), name


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_pointwise_convolutions_are_linear_layers(linear, layout, size, bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(7, 5, 1, bias=bias).double()
    fast = copy.deepcopy(plain).float().to(memory_format=layout)
    use_matmul_convolutions(fast)
    images = torch.randn(3, 7, *size).to(memory_format=layout)
    outputs, grads, expected = [], [], []
    for module, out, dtype in ((fast, grads, torch.float32), (plain, expected, torch.float64)):
        inputs = images.to(dtype, copy=True).requires_grad_()
        outputs.append(module(inputs))
        (outputs[-1].tanh() ** 2).sum().backward()
        out += [inputs.grad, *(p.grad for p in module.parameters())]
    assert linear == [1]
    for ours, theirs in zip([outputs[0], *grads], [outputs[1], *expected], strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-5, rtol=1e-4)


def test_only_small_pointwise_convolutions_in_plain_training_are(linear):
    conv = nn.Conv2d(4, 4, 1)
    use_matmul_convolutions(conv)
    rows = MAX_ROWS // 64
    conv(torch.randn(rows + 1, 4, 8, 8)).sum().backward()
    conv(torch.randn(4, 8, 8)).sum().backward()
    conv.eval()(torch.randn(rows, 4, 8, 8)).sum().backward()
    conv.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        conv(torch.randn(rows, 4, 8, 8)).sum().backward()
    assert not linear
    conv(torch.randn(rows, 4, 8, 8)).sum().backward()
    assert linear
    others = nn.Sequential(
        nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, padding=1), nn.Conv2d(4, 4, 3)
    )
    use_matmul_convolutions(others)
    assert all(type(module) is nn.Conv2d for module in others)


def test_large_maps_evaluation_bf16_and_other_convolutions_are_left_alone(used):
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    use_matmul_convolutions(conv)
    side = 2
    conv(torch.randn(1, 4, side, side + 1)).sum().backward()
    conv.eval()(torch.randn(1, 4, side, side)).sum().backward()
    conv.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        conv(torch.randn(1, 4, side, side)).sum().backward()
    assert not used
    conv(torch.randn(1, 4, side, side)).sum().backward()
    assert used
    others = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=4, dilation=2),
        nn.Conv2d(4, 4, (3, 5), groups=4), nn.Conv2d(4, 4, 3, groups=4, padding="same"), nn.Conv2d(1, 1, 3),
    )  # fmt: skip
    use_matmul_convolutions(others)
    assert all(type(module) is nn.Conv2d for module in others)
