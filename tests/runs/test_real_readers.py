"""The main job on a few phantom images, and on real ones where they are: teacher, search, promotion by the runners."""

import csv

import pytest
from conftest import run_runner

from xlite.data.phantom.chest_dataset import write_phantom

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
BASELINE = {"distill.alpha": 0.5, "optim.learning_rate": 3e-3}
def space(trial):
    return {"distill.alpha": trial.suggest_float("distill.alpha", 0.0, 1.0, step=0.1),
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)}
"""


def job(folder, data, *more):
    """A teacher by its own runner, then a search of two trials and a promotion; returns what was printed."""
    (folder / "space.py").write_text(SPACE)
    places = ["--data", data, "--cache-dir", folder / "cache", "--image-size", 32]
    made = run_runner(
        "train_teacher", *places, "--backbone", "mobilenetv3_small_100", "--epochs", 2, "--out", folder / "teacher"
    )
    assert made.returncode == 0, made.stdout + made.stderr
    done = run_runner(
        "tune_kd", *places, "--results", folder / "results", "--study", "s", "--space", folder / "space.py",
        "--trials", 2, "--max-epochs", 2, "--promote-epochs", 2, "--promote-top", 1, "--promote-seeds", 1,
        "--teacher", folder / "teacher" / "teacher.safetensors", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "chest"
    write_phantom(folder, num_images=160, image_px=64, seed=1)
    return folder


@pytest.mark.slow  # the same road as tests/runs/test_tune_kd.py, with a phantom folder given
def test_a_few_phantom_images_end_as_a_promoted_student(phantom, tmp_path):
    out = job(tmp_path, phantom)
    assert "Promoted student: auc_macro" in out and "Teacher mobilenetv3_small_100: validation auc_macro 0." in out
    with (tmp_path / "results" / "s" / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and [row["phase"] for row in rows].count("final") == 1
    assert (tmp_path / "results" / "s" / "promoted" / "model.safetensors").stat().st_size > 10**6


def test_one_configuration_is_trained_without_ray(phantom, tmp_path):
    done = run_runner(
        "train_one", "--data", phantom, "--cache-dir", tmp_path / "cache", "--image-size", 32, "--epochs", 2,
        "--out", tmp_path / "one", "--set", "loss.name=focal",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch   2" in done.stdout and (tmp_path / "one" / "student.safetensors").exists()


@pytest.mark.slow
def test_real_images_end_as_a_promoted_student_with_all_labels(nih_mini, tmp_path):
    out = job(tmp_path, nih_mini, "--subset", "0.3")
    assert "Searching on" in out and "Hernia" in out
    assert "1,565" in out or "1,094 train" in out


def test_nih_mini_has_no_official_test_image(nih_mini, tmp_path):
    lists = nih_mini.parent / "nih_labels"
    data = tmp_path / "nih"
    data.mkdir()
    for path in [nih_mini / "Data_Entry_2017_v2020.csv", *nih_mini.glob("images_*"), *lists.glob("*_list.txt.gz")]:
        (data / path.name).symlink_to(path)
    done = run_runner("prepare_data", "--data", data, "--cache-dir", tmp_path / "cache", "--split", "official")
    assert done.returncode == 2 and "--split patient" in done.stderr
