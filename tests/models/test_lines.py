"""The scan-line model: padding and later lines cannot reach what they must not, and every weight learns."""

import pytest
import torch

from xlite.config import ModelConfig
from xlite.errors import InputError
from xlite.models.build import build_model
from xlite.models.lines import line_positions


def make(**changes):
    values = {"architecture": "lines", "layers": 2, "width": 32, "ffn_width": 48, "dropout": 0.0, **changes}
    return build_model(ModelConfig(**values), num_labels=4, in_channels=1, image_size=24, seed=0)


def batch(num=3, lines=10, points=24, seed=0):
    return torch.randn(num, lines, points, generator=torch.Generator().manual_seed(seed)) + torch.arange(lines)[:, None]


@pytest.mark.parametrize("normalise_lines", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_padding_reaches_nothing_and_gets_zero(causal, normalise_lines):
    model = make(causal=causal, normalise_lines=normalise_lines).eval()
    images, num_lines = batch(), torch.tensor([[10], [6], [1]])
    logits = model(images, num_lines)
    assert logits.shape == (3, 10, 4) and logits.dtype == torch.float32 and torch.isfinite(logits).all()
    assert (logits[1, 6:] == 0).all() and (logits[2, 1:] == 0).all() and (logits[1, :6] != 0).all()
    images[1, 6:], images[2, 1:] = 1e4, torch.nan
    torch.testing.assert_close(model(images, num_lines), logits)
    torch.testing.assert_close(model(images[1:2, :6])[0], logits[1, :6])
    torch.testing.assert_close(model(images[:1]), logits[:1])


@pytest.mark.parametrize("normalise_lines", [True, False])
def test_only_a_causal_model_is_blind_to_later_lines(normalise_lines):
    images = batch()
    changed = images.clone()
    changed[:, 7:] = torch.randn(3, 3, 24, generator=torch.Generator().manual_seed(9))
    for causal in (True, False):
        model = make(causal=causal, normalise_lines=normalise_lines).eval()
        same = torch.isclose(model(images)[:, :7], model(changed)[:, :7], atol=1e-6).all()
        assert same == causal


@pytest.mark.parametrize("causal", [True, False])
def test_the_unit_does_not_matter(causal):
    images = batch()
    for normalise_lines in (True, False):
        model = make(normalise_lines=normalise_lines, causal=causal).eval()
        torch.testing.assert_close(model(1e-9 * images), model(images), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model(30 * images + 500), model(images), rtol=1e-2, atol=1e-2)


def test_each_lines_own_height_and_contrast_matter_only_without_normalisation():
    images = batch()
    changed = images * (1 + torch.arange(10)[:, None]) + 3 * torch.arange(10)[:, None]
    torch.testing.assert_close(make().eval()(changed), make().eval()(images), rtol=1e-3, atol=1e-3)
    model = make(normalise_lines=False).eval()
    assert (model(changed) - model(images)).abs().max() > 0.05


def test_constant_lines_are_finite():
    images = batch()
    images[0, 3] = 7.0
    images[1] = 0.0
    for normalise_lines in (True, False):
        assert torch.isfinite(make(normalise_lines=normalise_lines)(images)).all()


def test_the_order_of_lines_matters():
    model = make().eval()
    images = batch()
    assert (model(images.flip(1)).flip(1) - model(images)).abs().max() > 1e-3
    assert line_positions(50, 31, device=torch.device("cpu")).shape == (50, 31)


@pytest.mark.parametrize("head", ["classes", "coral"])
@pytest.mark.parametrize("attention", ["none", "mhsa"])
@pytest.mark.parametrize("causal", [True, False])
def test_every_parameter_gets_a_gradient(causal, attention, head):
    model = make(causal=causal, attention=attention, head=head, dropout=0.1, attention_heads=7)
    model(batch().half(), torch.tensor([[10], [6], [1]])).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_any_number_of_lines_and_several_channels():
    model = make().eval()
    assert model(batch(lines=300)).shape == (3, 300, 4)
    config = ModelConfig(architecture="lines", layers=1, width=32, ffn_width=48)
    two = build_model(config, num_labels=3, in_channels=2, image_size=24, seed=0)
    assert two(torch.randn(5, 2, 9, 24)).shape == (5, 9, 3)
    torch.testing.assert_close(model(batch()[:, None]), model(batch()))


def test_the_bias_is_what_the_logits_start_from():
    model = make().eval()
    before = model(batch())
    model.set_bias([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(model(batch()) - before, torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 10, 4))


def test_bfloat16_arithmetic_gives_float32_logits():
    model = make().eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch(), torch.tensor([[10], [6], [1]]))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(batch(), torch.tensor([[10], [6], [1]])), rtol=0.1, atol=0.1)


def test_performer_is_refused():
    with pytest.raises(InputError, match="use mhsa"):
        make(attention="performer")


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    one = make().state_dict()
    torch.manual_seed(6)
    two = make().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
