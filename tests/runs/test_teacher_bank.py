"""`runners/teacher_bank.py` on a study that a real search made: found, compared, damaged, built again, refused."""

import json
import shutil
import zlib

import numpy as np
import pytest
from conftest import run_runner

from xlite.commands import teacher_bank
from xlite.commands.cli import run as run_command

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
BASELINE = {"model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.5}
def space(trial):
    return {**BASELINE, "distill.alpha": trial.suggest_float("distill.alpha", 0.1, 1.0)}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory, tiny_nih):
    """A study of one trial that distils."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "space.py").write_text(SPACE)
    done = run_runner(
        "tune_kd", "--data", tiny_nih, "--results", folder / "results", "--cache-dir", folder / "cache", "--study", "s",
        "--space", folder / "space.py", "--max-epochs", 3, "--image-size", 32, "--trials", 1, "--no-promote",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def home(searched):
    """The study, whose bank and study.json a test may change."""
    before = {path: path.read_bytes() for path in [*bank_of(searched).iterdir(), searched / "results/s/study.json"]}
    yield searched
    for path, data in before.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def run(home, *more, study="s"):
    """The runner's exit code, in this process."""
    arguments = ["--study", study, "--results", home / "results", *more]
    with pytest.raises(SystemExit) as left:
        run_command(teacher_bank.run, teacher_bank.parser(), [str(argument) for argument in arguments])
    return left.value.code


def bank_of(home):
    (folder,) = (home / "cache" / "banks").iterdir()
    return folder


def test_the_search_has_made_it_and_it_matches_the_live_teacher(searched):
    before = (bank_of(searched) / "bank.json").stat().st_mtime_ns
    done = run_runner("teacher_bank", "--study", "s", "--results", searched / "results", "--check")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert bank_of(searched).name in text and "84 images x 2 views" in text
    assert "bytes an image and view: logits " in text and ", pixels 1,024.8" in text
    assert "Check: 168 views match the live teacher within fp16 rounding" in text and "pixels identical" in text
    assert (bank_of(searched) / "bank.json").stat().st_mtime_ns == before
    assert "Asking the teacher about every view" not in text


def test_a_part_of_it_is_compared_when_asked(searched, capsys):
    assert run(searched, "--check", "--rows", 10) == 0
    assert "Check: 64 views match" in capsys.readouterr().out  # one batch


def test_a_bank_that_was_removed_or_damaged_is_built_again(home, capsys):
    whole = {path.name: path.read_bytes() for path in bank_of(home).iterdir()}
    shutil.rmtree(home / "cache" / "banks")
    assert run(home) == 0
    (bank_of(home) / "logits.npy").write_bytes(whole["logits.npy"][:-1])
    assert run(home) == 0
    assert capsys.readouterr().out.count("Asking the teacher about every view: 168 views") == 2
    assert {path.name: path.read_bytes() for path in bank_of(home).iterdir()} == whole


def test_a_bank_that_does_not_match_is_one_line_and_exit_1(home, capsys):
    file, record = bank_of(home) / "logits.npy", bank_of(home) / "bank.json"
    logits = np.load(file)
    logits[1, 3] += 1
    np.save(file, logits)
    about = json.loads(record.read_text())
    about["files"]["logits.npy"][1] = zlib.crc32(file.read_bytes())  # whole as written, but written wrong
    record.write_text(json.dumps(about))
    assert run(home, "--check") == 1
    assert "Check FAILED: of 168 views, 14 logits differ beyond fp16 rounding (by up to 1)" in capsys.readouterr().out


def refused(home, capsys, *more, study="s"):
    assert run(home, *more, study=study) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_what_does_not_fit_is_one_line_and_exit_2(searched, capsys):
    assert "give --check too" in refused(searched, capsys, "--rows", 5)
    assert "--rows" in refused(searched, capsys, "--check", "--rows", 0)
    assert "nosuch" in refused(searched, capsys, study="nosuch")


def test_a_place_that_cannot_be_written_is_one_line_and_exit_2(home, capsys):
    shutil.rmtree(home / "cache" / "banks")
    (home / "cache" / "banks").write_text("a file")
    assert "the teacher bank cannot be written" in refused(home, capsys)
    (home / "cache" / "banks").unlink()


@pytest.mark.parametrize(
    ("teacher", "words"),
    [(None, "does not distil"), ("0123456789abcdef", "it was searched with teacher 0123456789abcdef")],
)
def test_a_study_without_a_teacher_or_with_another_is_refused(home, capsys, teacher, words):
    study = home / "results" / "s" / "study.json"
    about = json.loads(study.read_text())
    about["meaning"]["teacher"] = teacher
    study.write_text(json.dumps(about))
    assert words in refused(home, capsys)
