"""Search spaces are checked whole before anything is trained; every shipped one loads."""

import json
from pathlib import Path

import optuna
import pytest
from studies import open_study

from xlite.config import RunConfig
from xlite.errors import InputError, SpaceError
from xlite.ledger import sqlite_url
from xlite.study.fixed_keys import with_fixed
from xlite.study.manifest import check_same
from xlite.study.plan import FIXED_KEYS
from xlite.study.probes import check_space, distinct, model_of
from xlite.study.space import load_space
from xlite.tasks.target_spec import MULTILABEL, TARGET_SPECS
from xlite.train.canonical import unread_keys

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"
GOOD = """
BASELINE = {"model.backbone": "resnet18", "optim.learning_rate": 1e-3}
def space(trial):
    return {"model.backbone": trial.suggest_categorical("model.backbone", ["resnet18", "resnet34"]),
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)}
"""


def written(folder, text):
    path = folder / "space.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_space_resolves_over_both_ends_of_the_defaults(path):
    space = load_space(path, "multilabel")
    for base in (RunConfig(), RunConfig().override({"train.epochs": 50, "data.image_size": 224}, source="test")):
        assert check_space(space, base, reserved=FIXED_KEYS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("kd_lite_cpu", "multilabel"), ("images_kd_lite_cpu", "multilabel"), ("images_kd_lite_cpu", "multiclass")],
)
def test_where_the_hard_loss_weighs_nothing_it_is_not_searched_and_stays_the_default(name, kind):
    space = load_space(SPACES / f"{name}.py", kind)
    default = RunConfig().override({"loss.name": TARGET_SPECS[kind].losses[0]}, source="task")
    for alpha in (1.0, 0.9, 0.0):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(30):
            chosen = with_fixed(space, {"distill.alpha": alpha}).propose(study.ask())
            assert ("loss.name" in chosen) == (alpha < 1) and ("distill.temperature" in chosen) == (alpha > 0)
            assert alpha < 1 or not [key for key in chosen if key.startswith("loss.")]
            assert alpha < 1 or default.override(chosen, source="space").loss == default.loss


def test_the_grid_is_the_eight_logged_configurations_and_runs_to_the_end():
    space = load_space(SPACES / "kd_grid.py", "multilabel")
    assert space.is_grid and len(space.first) == 8
    assert {(c["distill.temperature"], c["distill.alpha"]) for c in space.first} == {
        (4, 0.7),
        (4, 0.5),
        (8, 0.7),
        (8, 0.5),
    }


def test_the_distinct_models_of_a_space_are_found(tmp_path):
    models = distinct(check_space(load_space(written(tmp_path, GOOD), "multilabel"), RunConfig()), model_of)
    assert sorted(m.model.backbone for m in models) == ["resnet18", "resnet34"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('resnet18", "resnet34', 'resnet34", "resnet50'), "BASELINE|range|failed"),
        (('"optim.learning_rate": 1e-3}', '"optim.learning_rate": 1.0}'), "BASELINE|range|failed"),
        ((', "optim.learning_rate": 1e-3}', "}"), "BASELINE lacks optim.learning_rate"),
        (("1e-3}", '1e-3, "optim.clip_norm": 1.0}'), "BASELINE sets optim.clip_norm"),
        (('"optim.learning_rate": trial', '"optim.rate": trial'), "optim.rate|optim.learning_rate"),
        (("1e-4, 1e-2", "1e-2, 1e-4"), "failed: ValueError"),
        (("return {", "import nothing_here\n    return {"), "ModuleNotFoundError"),
        (("BASELINE", "BASE"), "define `space"),
        (("def space", "def spaces"), "define `space"),
        (("BASELINE =", "BASELINE"), "cannot be run"),
    ],
)
def test_a_bad_space_is_one_line_that_names_its_file(tmp_path, change, words):
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(InputError, match=words) as caught:
        check_space(load_space(path, "multilabel"), RunConfig())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("None", "must be a list of dicts"),
        ('[{"model.dropout": [0.1, 0.2]}]', r"CONFIGURATIONS\[0\] has model.dropout=\[0.1, 0.2\]; write"),
        ('[{"model.dropout": 0.1}, {"model.dropout": (0.2,)}]', r"CONFIGURATIONS\[1\] has model.dropout=\(0.2,\)"),
    ],
)
def test_a_bad_grid_is_one_line_too(tmp_path, grid, words):
    with pytest.raises(InputError, match=words):
        load_space(written(tmp_path, f"CONFIGURATIONS = {grid}"), "multilabel")


def test_a_key_of_the_study_as_a_whole_cannot_be_searched(tmp_path):
    text = GOOD.replace('{"model.backbone": trial', '{"data.image_size": 64, "model.backbone": trial')
    with pytest.raises(InputError, match=r"data\.image_size is fixed for a study"):
        check_space(load_space(written(tmp_path, text), "multilabel"), RunConfig(), reserved=FIXED_KEYS)


def test_a_missing_space_lists_what_is_there(tmp_path):
    written(tmp_path, GOOD)
    with pytest.raises(InputError, match=r"no such file; in that folder: space\.py"):
        load_space(tmp_path / "kd.py", "multilabel")


def hash_of(folder, text):
    return load_space(written(folder, text), "multilabel").code_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def space", "# a comment\n\ndef space"),
        ("return {", "return {  # another\n        "),
        ("def space(trial):", 'def space(trial):\n    """Says what it does."""'),
        ("BASELINE", '"""A module\'s docstring."""\nBASELINE'),
        ('"resnet18"', "'resnet18'"),
    ],
)
def test_comments_docstrings_and_layout_are_no_part_of_a_space_s_identity(tmp_path, old, new):
    assert GOOD.replace(old, new) != GOOD
    assert hash_of(tmp_path, GOOD.replace(old, new)) == hash_of(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [("1e-4, 1e-2", "1e-4, 2e-2"), ('"resnet34"', '"resnet50"'), ("log=True", "log=False"), ("1e-3}", "2e-3}")],
)
def test_values_and_code_are(tmp_path, old, new):
    assert hash_of(tmp_path, GOOD.replace(old, new)) != hash_of(tmp_path, GOOD)


def test_an_error_of_the_space_names_file_line_trial_and_error(tmp_path):
    path = written(tmp_path, GOOD.replace("    return {", "    scale = 1 / (trial.number - 3)\n    return {"))
    with pytest.raises(SpaceError) as caught:
        check_space(load_space(path, "multilabel"), RunConfig())
    assert str(caught.value) == f"{path}, line 4, trial 3: space(trial) failed: ZeroDivisionError: division by zero"


KINDS = {"lumbar": ("ordinal",), "stm": ("multiclass",), "images": ("multilabel", "multiclass"), "kd": ("multilabel",)}
CASES = [(path, kind) for path in sorted(SPACES.glob("*kd*.py")) for kind in KINDS[path.stem.partition("_")[0]]]


@pytest.mark.parametrize(("path", "kind"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_a_shipped_space_asks_for_nothing_that_a_trial_does_not_read(path, kind):
    space, spec = load_space(path, kind), TARGET_SPECS[kind]
    layout = {"lumbar": "slices", "stm": "lines"}.get(path.stem.partition("_")[0], "image")
    base = RunConfig().override({"loss.name": spec.losses[0], "model.architecture": layout}, source="test")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(200):
        trial = study.ask()
        chosen = space.propose(trial)
        config = base.override(chosen, source="test")
        assert unread_keys(trial.params, [config], spec) == [], chosen


@pytest.mark.parametrize("path", sorted(SPACES.glob("*kd*.py")), ids=lambda p: p.stem)
def test_at_alpha_1_a_shipped_space_asks_for_less(path):
    space = load_space(path, KINDS[path.stem.partition("_")[0]][0])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.propose(study.ask()) for _ in range(0 if space.is_grid else 200)]
    inert = {"loss.class_weights", "loss.class_gamma", "loss.weighting"}
    for chosen in drawn:
        assert chosen["distill.alpha"] < 1 or not inert & chosen.keys()
    assert space.is_grid or {chosen["distill.alpha"] == 1 for chosen in drawn} == {False, True}


def test_a_study_of_a_former_version_of_a_shipped_space_continues(tmp_path):
    """Version 0.1.0 stored the hash of the bytes, later ones that of the code; fixed keys are part of both."""
    space = load_space(SPACES / "kd_cpu.py", "multilabel")
    former = ("efaec56acb061aa8", "03bedd71c108e846")
    assert set(former) < set(space.earlier_hashes) and space.code_hash not in space.earlier_hashes
    held = GOOD + 'CONTINUES = ("0123456789abcdef",)\n'
    fixed = load_space(written(tmp_path, held), "multilabel").identified_with({"optim.batch_size": 8})
    (tmp_path / "study.json").write_text(json.dumps({"meaning": {"space": fixed.earlier_hashes[1]}}))
    check_same(tmp_path, {"space": fixed.code_hash}, {"space": fixed.earlier_hashes})
    other = load_space(written(tmp_path, GOOD), "multilabel").identified_with({"optim.batch_size": 8})
    with pytest.raises(InputError, match="space was"):
        check_same(tmp_path, {"space": other.code_hash}, {"space": other.earlier_hashes})


def test_a_search_goes_on_in_the_space_whose_former_version_asked_for_more(tmp_path):
    """Through the Latin hypercube, local mutations and the Gaussian process, with trials of both in its history."""

    def former(trial):
        return {**now.propose(trial), "loss.name": trial.suggest_categorical("loss.name", list(MULTILABEL.losses))}

    now = load_space(SPACES / "kd_cpu.py", "multilabel")
    with open_study(sqlite_url(tmp_path / "s.db")) as ledger:
        for number in range(16):
            proposal = ledger.ask(former if number < 8 else now.propose)
            assert proposal.number == number
            ledger.finish(number, "complete", value=proposal.overrides["distill.alpha"])
        rows = ledger.rows()
    assert all("loss.name" in row.overrides for row in rows[:8])
    later = [row.overrides for row in rows[8:]]
    assert all(("loss.name" in chosen) == (chosen["distill.alpha"] < 1) for chosen in later)
    assert any(chosen["distill.alpha"] == 1 for chosen in later)  # it is the best: the model follows it there
