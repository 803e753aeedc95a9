"""`--set` on a key that a space searches: the same in every trial, no parameter any more, and branches follow it."""

from pathlib import Path

import optuna
import pytest

from xlite.commands import tune_kd
from xlite.config import RunConfig
from xlite.errors import InputError
from xlite.study.fixed_keys import with_fixed
from xlite.study.options import Study
from xlite.study.plan import FIXED_KEYS, open_space
from xlite.study.probes import check_space
from xlite.study.space import load_space
from xlite.tasks import find_task
from xlite.train.canonical import unread_keys

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"


def fixed(name, values, kind="multilabel"):
    return with_fixed(load_space(SPACES / f"{name}.py", kind), values)


def trials(space, num=40):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [study.ask() for _ in range(num)]
    return [(space.propose(trial), trial.params) for trial in asked]


def test_a_fixed_key_has_one_value_and_is_no_parameter():
    space = fixed("kd_cpu", {"optim.batch_size": 64, "model.backbone": "lcnet_050"})  # 64 is not in the space
    for chosen, parameters in trials(space):
        assert (chosen["optim.batch_size"], chosen["model.backbone"]) == (64, "lcnet_050")
        assert not {"optim.batch_size", "model.backbone"} & set(parameters) and "optim.learning_rate" in parameters
    assert space.first[0]["model.backbone"] == "lcnet_050" and space.first[0]["optim.learning_rate"] == 3e-3
    configs = check_space(space, RunConfig(), reserved=FIXED_KEYS)
    assert {(config.model.backbone, config.optim.batch_size) for config in configs} == {("lcnet_050", 64)}


def test_a_space_follows_the_branch_of_a_fixed_value():
    space = fixed("kd_cpu", {"distill.alpha": 0.0, "loss.name": "focal"})
    for chosen, _ in trials(space):
        assert "distill.temperature" not in chosen and "loss.focal_gamma" in chosen
    (baseline,) = space.first
    assert "distill.temperature" not in baseline and "loss.name" in baseline
    assert baseline["loss.focal_gamma"] == 1.75 and baseline["loss.focal_alpha"] == 0.575  # the middle of each range
    assert check_space(space, RunConfig(), reserved=FIXED_KEYS)


def test_a_constant_of_the_space_is_fixed_too():
    space = fixed("kd", {"model.pretrained": False})
    proposed = [chosen for chosen, _ in trials(space)]
    assert {chosen["model.pretrained"] for chosen in (*proposed, *space.first)} == {False}


def test_a_grid_has_the_value_in_every_configuration():
    space = fixed("kd_grid", {"distill.alpha": 0.3})
    assert space.is_grid and {c["distill.alpha"] for c in space.first} == {0.3} and len(space.first) == 8


def test_values_that_do_not_go_with_the_space_are_refused():
    space = fixed("lumbar_kd_cpu", {"model.head": "classes"}, kind="ordinal")
    base = RunConfig().override({"loss.name": "cross_entropy"}, source="test")
    with pytest.raises(InputError, match=r"lumbar_kd_cpu.py: loss.name=coral and model.head=coral go together"):
        check_space(space, base)


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.py")), ids=lambda path: path.stem)
def test_every_shipped_space_can_have_each_of_its_keys_fixed(path):
    space = load_space(path, "multilabel")
    for key, value in space.first[0].items():
        if key in ("loss.name", "model.head"):  # go together
            continue
        base = RunConfig().override({key: value}, source="test")  # as `--set` makes it
        configs = check_space(with_fixed(space, {key: value}), base, reserved=FIXED_KEYS)
        section, _, field = key.partition(".")
        assert {getattr(getattr(config, section), field) for config in configs} == {value}


def test_a_space_that_asks_for_a_removed_key_goes_on_where_that_is_fixed_at_what_is_left(tmp_path):
    text = "def space(trial):\n    return {'distill.loss': trial.suggest_categorical('distill.loss', ['kl', 'mse'])}\n"
    (tmp_path / "space.py").write_text("BASELINE = {'distill.loss': 'kl'}\n" + text)

    def study(*options):
        arguments = tune_kd.parser().parse_args(["--space", str(tmp_path / "space.py"), *options])
        asked, task = tune_kd.resolve(arguments, "s", tmp_path / "s", "cpu"), find_task("chestxray14")
        return Study(asked, task, asked.configure(task))

    with pytest.raises(InputError, match=r"space\.py: distill\.loss='mse' was taken out"):
        open_space(study())
    continued = study("--set", "distill.loss=kl")
    _, configs = open_space(continued)
    assert set(configs) == {continued.base}
    assert unread_keys(continued.options.settings, configs, continued.task.target_spec) == ["distill.loss"]
