"""Keys of model and schedule that a run does not read do not tell two configurations apart; those it reads do."""

import pytest
import torch

from xlite.config import RunConfig
from xlite.models.build import build_model, call, canonical_model
from xlite.tasks.target_spec import MULTILABEL
from xlite.train.canonical import canonical
from xlite.train.schedule import learning_rate

MODEL = {
    "model.attention": ("none", "mhsa", "performer"),
    "model.attention_heads": (2, 4),
    "model.performer_features": (8, 16),
    "model.num_slices": (3, 5),
    "model.num_levels": (2, 3),
    "model.level_dim": (8, 16),
    "model.layers": (1, 2),
    "model.width": (8, 16),
    "model.ffn_width": (8, 16),
    "model.causal": (False, True),
    "model.normalise_lines": (False, True),
    "model.head": ("classes", "coral"),
    "model.head_bias": ("data", "1,2,3"),
}
BASES = {
    "image": {"model.backbone": "lcnet_035", "model.attention": "mhsa"},
    "slices": {"model.backbone": "lcnet_035", "model.architecture": "slices", "model.attention": "performer"},
    "lines": {"model.architecture": "lines"},
}


def config(**changes):
    if changes.get("model.head") == "coral":
        changes["loss.name"] = "coral"
    return RunConfig().override({"model.dropout": 0.0, **changes}, source="test")


def answers(model):
    """The logits of the model of this configuration on made-up inputs, which its seed decides."""
    generator = torch.Generator().manual_seed(0)
    shape = {"image": (2, 64, 64), "slices": (2, model.num_slices, 64, 64, 1), "lines": (2, 6, 16)}[model.architecture]
    images = torch.rand(shape, generator=generator) * 255
    sizes = {"in_channels": 1, "image_size": 16 if model.architecture == "lines" else 64}
    built = build_model(model, num_labels=3, seed=1, **sizes).eval()
    auxiliary = torch.ones(2, 1, dtype=torch.int64) if model.architecture == "slices" else None
    with torch.no_grad():
        return call(built, images, auxiliary)


@pytest.mark.parametrize("layout", BASES)
def test_a_model_changes_with_a_key_exactly_where_its_canonical_form_does(layout):
    base = BASES[layout]
    for key, values in MODEL.items():
        if layout == "lines" and key == "model.attention":
            continue  # softmax attention either way, and "performer" is refused
        models = [config(**{**base, key: value}).model for value in values]
        forms = {canonical_model(model).model_dump_json() for model in models}
        logits = {tuple(answers(model).flatten().tolist()) for model in models}
        assert len(forms) == len(logits), (key, forms)


@pytest.mark.parametrize(
    ("key", "values", "given", "is_read"),
    [
        ("optim.plateau_patience", (0, 3), {"optim.schedule": "plateau"}, True),
        ("optim.plateau_patience", (0, 3), {"optim.schedule": "cosine"}, False),
        ("optim.plateau_factor", (0.1, 0.5), {"optim.schedule": "plateau", "optim.plateau_patience": 0}, True),
        ("optim.plateau_factor", (0.1, 0.5), {"optim.schedule": "constant"}, False),
        ("optim.warmup_from", (0.0, 1e-4), {"optim.warmup_epochs": 2}, True),
        ("optim.warmup_from", (0.0, 1e-4), {"optim.warmup_epochs": 0}, False),
    ],
)
def test_a_schedule_changes_with_a_key_exactly_where_its_canonical_form_does(key, values, given, is_read):
    configs = [config(**given, **{key: value}) for value in values]
    history = [0.5, 0.4, 0.4, 0.4, 0.4, 0.4]
    rates = {
        tuple(
            learning_rate(one.optim, epoch=e, step=0, steps_per_epoch=4, num_epochs=8, history=history[:e])
            for e in range(6)
        )
        for one in configs
    }
    assert (len(rates) == 2) == is_read
    assert (canonical(configs[0], MULTILABEL) != canonical(configs[1], MULTILABEL)) == is_read


def test_frozen_epochs_tell_runs_apart_only_where_there_is_a_backbone():
    for base, is_read in ((BASES["image"], True), (BASES["lines"], False)):
        forms = [canonical(config(**base, **{"optim.freeze_epochs": epochs}), MULTILABEL) for epochs in (0, 2)]
        assert (forms[0] != forms[1]) == is_read
