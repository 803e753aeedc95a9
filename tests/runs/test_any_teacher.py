"""A search under an ONNX model and a table of answers, averaged; then its files are moved, and all goes on."""

import sys

import numpy as np
import pandas as pd
import pytest
from conftest import REPO, TINY_LABELS, read_json, run_runner

from xlite.commands import promote, teacher_bank, tune_kd
from xlite.commands.cli import run as run_command

sys.path.insert(0, str(REPO / "tests" / "distill"))
from onnx_files import write_onnx

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
BASELINE = {"model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.5}
def space(trial):
    return {**BASELINE, "distill.alpha": trial.suggest_float("distill.alpha", 0.1, 1.0)}
"""


def write_teachers(folder, data):
    """m.onnx knows the three findings and another label; t.csv knows two of them, without suffix, for 100 of 120."""
    about = {"labels": ["Cat", *TINY_LABELS], "output": "logits", "scale": [-1, 1]}
    write_onnx(folder / "m.onnx", size=16, num_outputs=4, about=about)
    rows = pd.read_csv(data / "Data_Entry_2017_v2020.csv")
    noise = np.random.default_rng(0)
    table = pd.DataFrame({"image": rows["Image Index"].str.removesuffix(".png")})
    for label in TINY_LABELS[:2]:
        present = rows["Finding Labels"].str.contains(label)
        table[label] = (0.1 + 0.6 * present + 0.2 * noise.random(len(rows))).round(4)
    table[20:].to_csv(folder / "t.csv", index=False)
    (folder / "seen.txt").write_text("another_image\n")


def called(command, *arguments):
    with pytest.raises(SystemExit) as left:
        run_command(command.run, command.parser(), [str(argument) for argument in arguments])
    return left.value.code


def test_a_search_under_them_is_continued_checked_and_promoted_with_moved_files(tiny_nih, tmp_path, capsys):
    here, moved = tmp_path / "here", tmp_path / "moved"
    here.mkdir()
    write_teachers(here, tiny_nih)
    (tmp_path / "space.py").write_text(SPACE)
    done = run_runner(
        "tune_kd", "--data", tiny_nih, "--results", tmp_path / "r", "--cache-dir", tmp_path / "cache", "--study", "s",
        "--space", tmp_path / "space.py", "--max-epochs", 1, "--image-size", 32, "--trials", 2, "--no-promote",
        "--teacher", here / "m.onnx", here / "t.csv", "--teacher-weights", 1, 3, "--teacher-answers", "probabilities",
        "--teacher-trained-on", here / "seen.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none of 1 lines is an image or a patient of this data" in done.stdout
    assert "t.csv: one answer an image, used for all its views" in done.stdout
    assert "m.onnx does not know Atelectasis, " in done.stdout and "(over 3 of 14 labels, " in done.stdout
    manifest = read_json(tmp_path / "r" / "s" / "study.json")
    value = manifest["teacher"]["value"]
    assert manifest["teacher"]["name"] == "m.onnx + t.csv" and 0 < value < 1
    assert f"Validation auc_macro: teacher {value:.4f}, best student 0." in done.stdout

    here.rename(moved)
    study = ["--study", "s", "--results", tmp_path / "r"]
    teacher = ["--teacher", moved / "m.onnx", moved / "t.csv"]
    assert called(teacher_bank, *study) == 2
    assert f"error: {here}/m.onnx: no such file" in capsys.readouterr().err
    assert called(teacher_bank, *study, *teacher, "--check") == 0
    printed = capsys.readouterr().out
    assert "84 views match the live teacher" in printed and "Asking the teacher about" not in printed
    assert (
        called(promote, *study, *teacher, "--epochs", 2, "--promote-top", 1, "--promote-seeds", 1, "--no-package") == 0
    )
    assert called(teacher_bank, *study, "--teacher", moved / "t.csv", moved / "m.onnx") == 2
    assert "bring back the teacher's files, in the order they were given in" in capsys.readouterr().err
    again = [*study, "--space", tmp_path / "space.py", "--max-epochs", 1, "--image-size", 32, "--trials", 2]
    again += ["--no-promote", *teacher]
    assert called(tune_kd, *again) == 2
    assert f"{here}/seen.txt: no such file; name the place where it is" in capsys.readouterr().err
    assert called(tune_kd, *again, "--teacher-trained-on", moved / "seen.txt") == 0
    assert "Asking the teacher about" not in capsys.readouterr().out
