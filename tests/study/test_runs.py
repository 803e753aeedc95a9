"""The names of TensorBoard's runs, and what a continued study makes up for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from event_files import scalars, values

from xlite.ledger import TrialRecord
from xlite.study.board import update_runs
from xlite.study.job import TrialFolders, run_name
from xlite.study.probes import choices
from xlite.study.space import load_space

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (
            {"model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.5, "distill.temperature": 4.0},
            "00007 mobilenetv3_small_050 KD T=4",
        ),
        ({"model.backbone": "resnet18", "model.attention": "mhsa", "distill.alpha": 0.0}, "00007 resnet18 mhsa"),
        ({"model.backbone": "resnet18", "model.attention": "none", "distill.alpha": 1}, "00007 resnet18 KD"),
        ({"model.layers": 2, "model.width": 64}, "00007 lines_2x64"),
        ({"model.backbone": "hf-hub:timm/../net\n*"}, "00007 hf-hub_timm_.._net__"),
        ({"model.backbone": "x" * 400}, "00007 " + "x" * 100),
        ({}, "00007"),
    ],
)
def test_a_run_is_called_after_what_it_trains(config: dict[str, Any], name: str) -> None:
    assert run_name(7, config) == name


def test_a_trial_keeps_the_run_that_it_began(tmp_path: Path) -> None:
    folders = TrialFolders(tmp_path)
    first = folders.run(7, {"model.backbone": "a"})
    assert first == tmp_path / "runs" / "00007 a"
    first.mkdir(parents=True)
    (tmp_path / "runs" / "00070 b").mkdir()
    assert folders.run(7, {"model.backbone": "b"}) == first


def test_choices_are_every_key_that_the_space_can_set() -> None:
    found = choices(load_space(REPO / "search_spaces" / "kd_cpu.py", "multilabel"))
    assert {"loss.weighting", "loss.focal_gamma", "distill.temperature", "optim.learning_rate"} <= found.keys()
    assert set(found["loss.weighting"]) == {"negatives_positives", "inverse_frequency", "effective_number"}
    grid = choices(load_space(REPO / "search_spaces" / "baselines_cpu.py", "multilabel"))
    assert len(grid["model.backbone"]) == len(
        load_space(REPO / "search_spaces" / "baselines_cpu.py", "multilabel").first
    )


@pytest.mark.parametrize(("phase", "columns"), [("search", "s/runs"), ("baseline", "runs")])
def test_a_continued_study_writes_the_ends_that_a_killed_driver_missed(
    tmp_path: Path, phase: str, columns: str
) -> None:
    root = tmp_path / "s" if phase == "search" else tmp_path
    options = SimpleNamespace(folder=tmp_path / "s", root=root, phase=phase, objectives=())
    task = SimpleNamespace(metric="auc_macro")
    space = load_space(REPO / "search_spaces" / "kd_cpu.py", "multilabel")
    plan: Any = SimpleNamespace(
        study=SimpleNamespace(options=options, task=task), candidates=SimpleNamespace(space=space)
    )
    folders = TrialFolders(tmp_path / "s", (3, 9))
    folders.run(0, {"model.backbone": "a"}).mkdir(parents=True)
    ended = [
        TrialRecord(number, "search", "pruned", 0.6, {"model.backbone": "a"}, {1: 0.5, 3: 0.6}) for number in range(2)
    ]
    for _ in range(2):
        update_runs(plan, folders, ended)
    assert values(tmp_path / "s" / "runs" / "00000 a") == {"model.backbone": "a", "state": "pruned"}
    assert scalars(tmp_path / "s" / "runs" / "00000 a") == {"rung": [(3, 3.0)]}
    assert [path.name for path in (tmp_path / "s" / "runs").glob("*/")] == ["00000 a"]  # 1 is of an earlier version
    assert len(list((tmp_path / columns).glob("events.*"))) == 1
