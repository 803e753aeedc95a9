"""Each mistake is one line that names the thing, exit 2, and nothing already made is lost."""

import shutil

import cv2
import numpy as np
import pytest
from conftest import HEADER, REPO, run_runner, write_nih_folder

from xlite.cli import run as run_command
from xlite.commands import (
    analyze,
    check_balance,
    prepare_data,
    promote,
    train_baselines,
    train_one,
    train_teacher,
    tune_kd,
)

COMMANDS = {
    "tune_kd": tune_kd,
    "prepare_data": prepare_data,
    "train_one": train_one,
    "train_teacher": train_teacher,
    "promote": promote,
    "train_baselines": train_baselines,
    "check_balance": check_balance,
    "analyze": analyze,
}


@pytest.fixture
def home(tmp_path):
    """A small healthy data set and places for what a run makes."""
    write_nih_folder(tmp_path / "nih", 60)
    return tmp_path


def refused(capsys, command, *arguments):
    """The one line a runner's own code gives; in this process, so that many cases stay affordable."""
    module = COMMANDS[command]
    with pytest.raises(SystemExit) as left:
        run_command(module.run, module.parser(), [str(a) for a in arguments])
    error = capsys.readouterr().err
    assert left.value.code == 2, error
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def prepare(capsys, home, *more, data=None):
    return refused(capsys, "prepare_data", "--data", data or home / "nih", "--cache-dir", home / "cache", *more)


def edit_table(home, change):
    table = home / "nih" / "Data_Entry_2017_v2020.csv"
    table.write_text(change(table.read_text()))


def image_of(home, index=0):
    return sorted((home / "nih").rglob("*.png"))[index]


DATA_MISTAKES = [
    ("no_folder", lambda h: shutil.rmtree(h / "nih"), ["nih", "no such folder"]),
    ("no_table", lambda h: (h / "nih" / "Data_Entry_2017_v2020.csv").unlink(), ["nih", "Data_Entry_2017"]),
    ("empty_table", lambda h: edit_table(h, lambda t: ""), ["Data_Entry_2017_v2020.csv"]),
    ("header_only", lambda h: edit_table(h, lambda t: HEADER), ["Data_Entry_2017_v2020.csv"]),
    ("no_column", lambda h: edit_table(h, lambda t: t.replace("Patient ID", "Person")), ["Patient ID"]),
    ("unknown_label", lambda h: edit_table(h, lambda t: t.replace("Effusion", "Efusion", 1)), ["Efusion", "row"]),
    ("mixed_label", lambda h: edit_table(h, lambda t: t.replace("Effusion", "No Finding|Effusion", 1)), ["No Finding"]),
    ("duplicate", lambda h: edit_table(h, lambda t: t + t.splitlines()[1] + "\n"), ["00000000_000.png", "row"]),
    (
        "all_negative",
        lambda h: edit_table(h, lambda t: t.replace("Effusion", "No Finding").replace("Infiltration", "No Finding")),
        ["No Finding|finding"],
    ),
    ("no_image", lambda h: shutil.rmtree(h / "nih" / "images_001"), ["image"]),
    ("missing_image", lambda h: image_of(h).unlink(), ["--allow-missing", "00000000_000.png"]),
    ("empty_image", lambda h: image_of(h).write_bytes(b""), ["--allow-missing", "unreadable"]),
    ("text_image", lambda h: image_of(h).write_text("not a picture"), ["--allow-missing", "unreadable"]),
    ("cut_image", lambda h: image_of(h).write_bytes(image_of(h).read_bytes()[:-300]), ["--allow-missing"]),
]


@pytest.mark.parametrize(("change", "words"), [m[1:] for m in DATA_MISTAKES], ids=[m[0] for m in DATA_MISTAKES])
def test_a_mistake_in_the_data_is_named(home, capsys, change, words):
    change(home)
    error = prepare(capsys, home)
    assert any(word in error for word in words[0].split("|")), error
    assert all(word in error for word in words[1:]), error


def test_unreadable_images_are_left_out_when_allowed_and_listed(home, capsys):
    image_of(home).write_bytes(b"")
    image_of(home, 1).unlink()
    with pytest.raises(SystemExit) as left:
        run_command(
            prepare_data.run,
            prepare_data.parser(),
            ["--data", str(home / "nih"), "--cache-dir", str(home / "cache"), "--allow-missing"],
        )
    assert left.value.code == 0
    listing = next((home / "cache").glob("excluded-*.csv")).read_text()
    assert "00000000_000.png,'unreadable" in listing and "00000000_001.png,'missing'" in listing
    assert "1 missing and 1 unusable of 60 examples" in capsys.readouterr().out


def test_official_lists_without_a_test_image_are_refused(home, capsys):
    names = [path.name for path in sorted((home / "nih").rglob("*.png"))]
    (home / "nih" / "train_val_list.txt").write_text("\n".join(names))
    (home / "nih" / "test_list.txt").write_text("99999999_000.png")
    assert "--split patient" in prepare(capsys, home, "--split", "official")


def test_a_patient_on_both_official_lists_is_named(home, capsys):
    names = [path.name for path in sorted((home / "nih").rglob("*.png"))]
    (home / "nih" / "train_val_list.txt").write_text("\n".join(names[1:]))
    (home / "nih" / "test_list.txt").write_text(names[0])
    assert "patient" in prepare(capsys, home, "--split", "official")


def test_official_without_lists_is_refused(home, capsys):
    assert "official" in prepare(capsys, home, "--split", "official")


def test_a_tampered_split_is_refused_and_a_new_one_not_drawn(home, capsys):
    arguments = ["--data", str(home / "nih"), "--cache-dir", str(home / "cache")]
    with pytest.raises(SystemExit):
        run_command(prepare_data.run, prepare_data.parser(), arguments)
    split = next((home / "cache" / "splits").glob("*.csv"))
    text = split.read_text()
    split.write_text(text.replace(",test", ",train", 1))
    capsys.readouterr()
    assert split.name in prepare(capsys, home)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "a/b"], ["study name", "a/b"]),
        (["--study", "../up"], ["study name"]),
        (["--study", ""], ["study name|options"]),
        (["--trials", "0"], ["--trials", "above 0"]),
        (["--trials", "many"], ["--trials"]),
        (["--max-epochs", "-1"], ["--max-epochs"]),
        (["--subset", "2"], ["subset|(0, 1]"]),
        (["--subset", "some"], ["subset|some"]),
        (["--image-size", "8"], ["image_size"]),
        (["--seed", "-1"], ["--seed"]),
        (["--task", "brain"], ["brain", "chestxray14"]),
        (["--task", "no.module:TASK"], ["no.module:TASK"]),
        (["--task", "xlite.tasks:TASKS"], ["not an xlite.tasks.task.Task"]),
        (["--split", "random"], ["--split"]),
        (["--space", "nowhere.py"], ["nowhere.py", "no such file"]),
        (["--set", "model.dropout"], ["KEY=VALUE"]),
        (["--set", "model.droppout=0.1"], ["model.droppout", "dropout"]),
        (["--set", "model.dropout=high"], ["model.dropout='high'"]),
        (["--set", "model.dropout=1.5"], ["model.dropout=1.5"]),
        (["--set", "data.augmentation=wild"], ["data.augmentation='wild'"]),
        (["--max-params", "1k"], ["within the limits", "mobilenetv3_small_050|lcnet_050"]),
        (["--max-mb", "0.01"], ["within the limits"]),
        (["--max-latency-ms", "0"], ["--max-latency-ms"]),
        (["--gpus-per-trial", "2"], ["--gpus-per-trial"]),
        (["--cpus-per-trial", "4096"], ["--cpus-per-trial 4096"]),
        (["--time-budget", "soon"], ["--time-budget", "8h"]),
        (["--teacher", "none.safetensors", "--no-promote"], ["none.json|none.safetensors"]),
        (["--colour"], ["--colour"]),
    ],
    ids=lambda value: "_".join(value) if value and value[0].startswith("--") else "",
)
def test_a_mistaken_option_of_tune_kd_is_named(home, capsys, arguments, words):
    places = ["--data", home / "nih", "--results", home / "results", "--cache-dir", home / "cache"]
    error = refused(capsys, "tune_kd", *places, *arguments)
    for word in words:
        assert any(choice in error for choice in word.split("|")), error


def test_an_unknown_backbone_gets_close_matches(home, capsys):
    space = home / "space.py"
    space.write_text(
        'BASELINE = {"model.backbone": "mobilnetv3_small_050"}\n'
        'def space(trial): return {"model.backbone": '
        'trial.suggest_categorical("model.backbone", ["mobilnetv3_small_050"])}\n'
    )
    places = ["--data", home / "nih", "--results", home / "results", "--cache-dir", home / "cache"]
    error = refused(capsys, "tune_kd", *places, "--space", space)
    assert "mobilnetv3_small_050" in error and "did you mean" in error and "mobilenetv3_small_050" in error


def test_a_teacher_of_another_task_or_split_is_refused(home, capsys):
    from xlite.config import ModelConfig
    from xlite.models.artifact import save_artifact, state_copy
    from xlite.models.build import build_model

    model = build_model(ModelConfig(), num_labels=2, seed=0)
    about = {"model": ModelConfig().model_dump(), "in_channels": 1, "image_size": 64, "split_hash": "elsewhere"}
    save_artifact(home, "other", state_copy(model), {**about, "labels": ["Cat", "Dog"]})
    places = ["--data", home / "nih", "--cache-dir", home / "cache"]
    error = refused(capsys, "train_one", *places, "--teacher", home / "other.safetensors")
    assert "other.safetensors" in error and "Cat, Dog" in error
    from xlite.data.sources.nih import LABELS

    model = build_model(ModelConfig(), num_labels=14, seed=0)
    save_artifact(home, "same", state_copy(model), {**about, "labels": list(LABELS)})
    error = refused(capsys, "train_one", *places, "--teacher", home / "same.safetensors")
    assert "split elsewhere" in error and "--allow-other-split" in error


def test_distilling_without_a_teacher_is_refused(home, capsys):
    places = ["--data", home / "nih", "--cache-dir", home / "cache"]
    assert "needs a teacher" in refused(capsys, "train_one", *places, "--set", "distill.alpha=0.5", "--image-size", 32)


def test_promoting_a_study_or_trial_that_is_not_there_is_refused(home, capsys):
    assert "nothing" in refused(capsys, "promote", "--study", "nothing", "--results", home / "results")


def test_a_full_disk_is_one_line_and_what_was_made_stays(home, capsys, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    error = prepare(capsys, home, "--image-size", "512")
    assert "--cache-dir" in error and "free" in error
    assert len(list((home / "nih").rglob("*.png"))) == 60


def test_the_line_and_the_code_are_what_a_shell_sees(tmp_path):
    done = run_runner("tune_kd", "--data", tmp_path / "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path / "nowhere") in done.stderr and "Traceback" not in done.stderr


def test_rgba_and_16_bit_images_are_read_like_grey_ones(home):
    from xlite.data.decode import ImagePreprocess, decode

    grey = cv2.imread(str(image_of(home)), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(home / "rgba.png"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA))
    np.testing.assert_array_equal(
        decode(home / "rgba.png", ImagePreprocess(32)), decode(image_of(home), ImagePreprocess(32))
    )


def test_no_runner_is_missing_from_the_commands():
    runners = {path.stem for path in (REPO / "runners").glob("*.py")}
    assert runners == {*COMMANDS, "leaderboard"}
