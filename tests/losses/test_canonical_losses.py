"""Equal canonical forms are equal losses and the other way round, over random configurations."""

import json
from itertools import product

import numpy as np
import pytest
import torch

from xlite.config import RunConfig
from xlite.losses.objectives import canonical_objective, class_objective, multilabel_objective
from xlite.tasks.target_spec import MULTICLASS, MULTILABEL, ORDINAL

VALUES = {
    "distill.alpha": (0.0, 0.4, 1.0),
    "distill.temperature": (2.0, 5.0),
    "distill.focal_weight": (0.0, 0.5),
    "loss.weighting": ("negatives_positives", "inverse_frequency", "effective_number"),
    "loss.smoothing": (1.0, 3.0),
    "loss.power": (0.5, 0.8),
    "loss.beta": (0.9, 0.99),
    "loss.focal_gamma": (0.5, 2.0),
    "loss.focal_alpha": (0.3, 0.6),
    "loss.focal_alpha_per_label": (False, True),
    "loss.bce_share": (0.0, 0.7, 1.0),
    "loss.class_weights": ("none", "balanced", "effective_number", "1,2,4"),
    "loss.class_gamma": (0.0, 1.0, 2.0),
}
"""Two values at least of each key that a loss may read, and the edges at which another is no longer read."""


def drawn(names, num, *, seed):
    """Random configurations, each beside a neighbour that differs from it in one key."""
    rng = np.random.default_rng(seed)
    for _ in range(num):
        name = names[rng.integers(len(names))]
        chosen = {key: values[rng.integers(len(values))] for key, values in VALUES.items()}
        key = rng.choice(list(VALUES))
        for changes in (chosen, {**chosen, key: VALUES[key][rng.integers(len(VALUES[key]))]}):
            head = {"model.head": "coral"} if name == "coral" else {}
            yield RunConfig().override({**changes, "loss.name": name, **head}, source="test")


@pytest.mark.parametrize("spec", [MULTILABEL, MULTICLASS, ORDINAL], ids=lambda spec: spec.kind)
def test_configurations_with_one_canonical_form_are_those_with_one_loss(spec):
    rng = np.random.default_rng(1)
    classes = spec is not MULTILABEL
    targets = np.eye(3)[rng.choice(3, 60, p=(0.6, 0.3, 0.1))] if classes else (rng.random((60, 3)) < (0.1, 0.3, 0.6))
    targets = targets.astype(np.float64)
    logits, teacher = (torch.from_numpy(rng.normal(size=(60, 3))) for _ in range(2))
    losses, forms = {}, {}
    for config in drawn(spec.losses, 1500, seed=2):
        objective = spec.objective(config, targets.astype(np.float32))
        loss = float(objective(logits, torch.from_numpy(targets), teacher)["loss"])
        form = spec.canonical(config).model_dump_json(), config.model.head
        assert losses.setdefault(form, loss) == loss, (config.loss, config.distill)
        assert forms.setdefault(loss, form) == form, (config.loss, config.distill)
    assert len(losses) > 60


def test_at_alpha_1_only_the_temperature_is_left_and_at_0_it_is_not_read():
    def form(**changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        return canonical_objective(multilabel_objective, RunConfig().override(changes, source="test"))

    soft = form(distill__alpha=1.0)
    for name, weighting in product(MULTILABEL.losses, ("negatives_positives", "effective_number")):
        assert form(distill__alpha=1.0, loss__name=name, loss__weighting=weighting, loss__focal_gamma=1.0) == soft
    assert form(distill__alpha=1.0, distill__temperature=8.0) != soft
    assert form(distill__temperature=8.0) == form() != form(loss__name="focal")


def test_of_an_objective_of_one_s_own_every_key_counts():
    config = RunConfig().override({"distill.temperature": 9.0, "loss.beta": 0.5}, source="test")
    assert canonical_objective(lambda config, targets: None, config) == config
    assert json.loads(canonical_objective(class_objective, config).model_dump_json())["distill"]["temperature"] == 4.0
