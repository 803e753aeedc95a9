"""What an earlier version began keeps its identity: the hashes here were computed before the configuration grew."""

from types import SimpleNamespace

import pytest
import torch

from xlite.config import REMOVED_KEYS, RunConfig, flatten, identity_values
from xlite.promotion import promote, train
from xlite.storage.files import fingerprint
from xlite.train import teacher
from xlite.train.run import TrainingRun

DATA = SimpleNamespace(train_hash=lambda: "d", split_hash="s")
TASK = SimpleNamespace(name="chestxray14")
MEMBER = SimpleNamespace(stem="model", dataset=DATA)
CHANGED = {
    **{"distill.alpha": 0.7, "distill.temperature": 2.0, "distill.focal_weight": 0.5},
    **{"loss.name": "bce_focal", "optim.learning_rate": 3e-3},
}


def identities(changes):
    """Of the configuration, a checkpoint, a default teacher and a promotion."""
    config = RunConfig().override(changes, source="test")
    device = SimpleNamespace(torch_device=torch.device("cpu"), autocast_dtype=None)
    bank = SimpleNamespace(folder=SimpleNamespace(name="b"), num_views=8)
    return (
        fingerprint(identity_values(flatten(config))),
        fingerprint(TrainingRun(config, TASK, DATA, device, bank).identity()),
        teacher._identity(config, TASK, DATA, None),
        promote.promotion_identity(config, [MEMBER], SimpleNamespace(number=3), "f1"),
    )


@pytest.mark.parametrize(
    ("changes", "earlier"),
    [
        ({}, ("465224bb928f05a3", "59a516749e8fd86b", "928521b05734c297", "e3c06f1d195daa43")),
        (CHANGED, ("5e42475b5bf77690", "0bc9c1b91ba73e62", "ee574d389f2de4f1", "bf41abd55732e982")),
    ],
)
def test_identities_are_those_of_version_0_1_0(changes, earlier):
    assert identities(changes) == earlier


def test_plain_steps_are_known_by_the_name_they_had_as_the_default():
    plain = {"train.step": "plain"}
    assert RunConfig().train.step == "auto" and identities(plain) == identities({})
    earlier = ("28caefe3730cd586", "59a516749e8fd86b", "77e7b9156a6283aa", "c4f7307065561459")
    assert identities({"train.step": "graph"}) == earlier


def test_a_promoted_model_is_still_there_where_its_configuration_is_the_same(monkeypatch, tmp_path):
    """Also where it was described while the removed keys were there; not where it was trained with one of them."""
    config = RunConfig()
    described = {"config": {**flatten(config), **REMOVED_KEYS}, "split_hash": "s", "epoch": 4}
    monkeypatch.setattr(train, "load_artifact", lambda path: ({}, described))
    assert train.still_there(config, MEMBER, tmp_path).best_epoch == 4
    assert train.still_there(config.override({"distill.alpha": 0.5}, source="t"), MEMBER, tmp_path) is None
    described["config"]["distill.loss"] = "mse"
    assert train.still_there(config, MEMBER, tmp_path) is None
