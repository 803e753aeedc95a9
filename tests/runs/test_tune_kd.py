"""The whole job as a person runs it: real processes, real Ray, on a tiny set in NIH's layout."""

import csv
import json
import time
from contextlib import ExitStack

import numpy as np
import pytest
from conftest import REPO, TINY_LABELS, read_json, run_runner
from event_files import pictures
from safetensors.numpy import load_file
from tensorboard_server import hparams, tensorboard

from xlite.ledger import Ledger, sqlite_url

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
SPACE = """
BASELINE = {"model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.5, "distill.temperature": 2.0,
            "optim.learning_rate": 3e-3, "optim.batch_size": 32}
def space(trial):
    alpha = trial.suggest_float("distill.alpha", 0.1, 1.0)
    rare = {"data.sampler": trial.suggest_categorical("data.sampler", ["none", "mean"])} if alpha > 0.93 else {}
    return {"model.backbone": "mobilenetv3_small_050",
            "distill.alpha": alpha, **rare,
            "distill.temperature": trial.suggest_float("distill.temperature", 1.0, 16.0, log=True),
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True),
            "optim.batch_size": trial.suggest_categorical("optim.batch_size", [16, 32])}
"""
RARE = "data.sampler"
"""A key that few of the space's draws have."""
SEED_COLUMNS = (
    "experiment_id,date,phase,model_name,cnn_backbone,attention_type,kd_temperature,kd_alpha,batch_size,learning_rate,"
    "epochs,train_loss,val_auc_macro,val_f1_macro,test_auc_macro,test_f1_macro,inference_time_ms,model_size_mb,status,notes"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_nih):
    """A study of four trials, searched and promoted."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "space.py").write_text(SPACE)
    done = tune(folder, tiny_nih, "--trials", 4, "--promote-top", 2, "--promote-seeds", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def tune(folder, data, *more):
    return run_runner(
        "tune_kd", "--data", data, "--results", folder / "results", "--cache-dir", folder / "cache", "--study", "s",
        "--space", folder / "space.py", "--max-epochs", 4, "--promote-epochs", 3, "--image-size", 32,
        "--set", "data.augmentation=light", *more,
    )  # fmt: skip


def board(folder):
    with (folder / "results" / "s" / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_leaderboard_has_the_logs_columns_first_and_a_row_a_trial(home):
    folder, _ = home
    header = (folder / "results" / "s" / "leaderboard.csv").read_text().splitlines()[0]
    assert header.startswith(SEED_COLUMNS + ",")
    rows = board(folder)
    search = [row for row in rows if row["phase"] != "final"]
    assert sorted(int(row["trial"]) for row in search) == [0, 1, 2, 3]
    assert {row["status"] for row in search} <= {"completed", "pruned"}
    assert all(float(row["inference_time_ms"]) > 0 and float(row["model_size_mb"]) > 1 for row in search)


def test_test_columns_are_empty_but_for_the_one_promoted_row(home):
    rows = board(home[0])
    final = [row for row in rows if row["phase"] == "final"]
    assert len(final) == 1 and 0 <= float(final[0]["test_auc_macro"]) <= 1
    assert all(row["test_auc_macro"] == row["test_f1_macro"] == "" for row in rows if row["phase"] != "final")


def test_trial_zero_is_the_baseline(home):
    first = next(row for row in board(home[0]) if row["trial"] == "0" and row["phase"] != "final")
    assert float(first["kd_alpha"]) == 0.5 and float(first["learning_rate"]) == 3e-3


def test_rank_one_is_the_best_complete_trial(home):
    rows = [row for row in board(home[0]) if row["phase"] != "final" and row["status"] == "completed"]
    assert rows[0]["rank"] == "1"
    assert float(rows[0]["value"]) == max(float(row["value"]) for row in rows)


def test_tensorboard_has_a_run_a_trial_with_its_parts_and_its_best(home):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for number in range(4):
        (run,) = (home[0] / "results" / "s" / "runs").glob(f"{number:05d} mobilenetv3_small_050 KD T=*")
        events = EventAccumulator(str(run))
        events.Reload()
        tags = set(events.Tags()["scalars"])
        assert {"train/loss", "train/hard", "train/soft", "val/auc_macro", "val_auc/Effusion", "best/auc_macro"} <= tags
        best = [event.value for event in events.Scalars("best/auc_macro")]
        raw = [event.value for event in events.Scalars("val/auc_macro")]
        np.testing.assert_allclose(best, np.maximum.accumulate(raw))


def test_the_hparams_tab_is_whole_and_the_same_at_each_of_four_starts(home, tmp_path):
    study = home[0] / "results" / "s"
    logs = [tmp_path / f"log{start}" for start in range(4)]
    with ExitStack() as started:
        servers = [started.enter_context(tensorboard(study, log)) for log in logs]
        answers = [hparams(server, log, num_runs=9) for server, log in zip(servers, logs, strict=True)]
    assert answers == [answers[0]] * 4
    columns, runs = answers[0]
    searched = {"model.backbone", "distill.alpha", "distill.temperature", "optim.learning_rate", "optim.batch_size"}
    assert set(columns) == searched | {RARE, "state", "rung", "best/auc_macro", "test/auc_macro"}
    rows = {int(row["trial"]): row for row in board(home[0]) if row["phase"] != "final"}
    promoted = runs.pop("promoted")
    assert (promoted["state"], promoted["status"]) == ("promoted", "STATUS_SUCCESS")
    (final,) = [row for row in board(home[0]) if row["phase"] == "final"]
    assert promoted["test/auc_macro"] == pytest.approx(float(final["test_auc_macro"]), abs=1e-4)
    retrained = [runs.pop(name) for name in list(runs) if name.startswith("retrained/trial_")]
    assert [run["state"] for run in retrained] == ["complete"] * 4  # two trials, two seeds
    for name, shown in runs.items():
        row = rows.pop(int(name.removeprefix("runs/")[:5]))
        temperature = f"{float(row['kd_temperature']):.3g}"
        assert name == f"runs/{int(row['trial']):05d} mobilenetv3_small_050 KD T={temperature}"
        assert shown["state"] == {"completed": "complete", "pruned": "pruned"}[row["status"]]
        assert shown["rung"] == (4 if shown["state"] == "complete" else int(row["epochs"]))
        assert shown["best/auc_macro"] == pytest.approx(float(row["value"]), abs=1e-4)
        assert shown["status"] == "STATUS_SUCCESS" and shown["optim.batch_size"] == int(row["batch_size"])
    assert not rows


def test_tensorboard_has_a_picture_of_the_views_and_of_where_the_promoted_student_looks(home):
    study = home[0] / "results" / "s"
    assert set(pictures(study / "runs")) == {"views/training examples"}
    assert set(pictures(study / "runs" / "promoted")) == {f"explained/{label}" for label in TINY_LABELS}
    assert not pictures(study / "promoted"), "this folder is passed on"


def test_the_promoted_folder_rebuilds_the_model_and_its_numbers(home):
    from xlite.models.artifact import load_model

    promoted = home[0] / "results" / "s" / "promoted"
    model, description = load_model(promoted / "model.safetensors")
    assert set(load_file(promoted / "model.safetensors")) == set(model.state_dict())
    metrics, thresholds = read_json(promoted / "metrics.json"), read_json(promoted / "thresholds.json")
    assert metrics["test"]["reads_of_test_in_this_study"] == 1
    assert list(thresholds["thresholds"]) == description["labels"] and len(description["labels"]) == 14
    low, high = metrics["test"]["interval_95"]
    assert low <= metrics["test"]["metrics"]["auc_macro"] <= high
    intervals = metrics["test"]["intervals_95"]
    assert [intervals["scalars"]["auc_macro"][end] for end in ("low", "high")] == [low, high]
    assert set(intervals["per_label"]) == set(description["labels"])
    assert "f1_macro_at_thresholds" in intervals["scalars"]
    assert metrics["validation"]["intervals_95"]["note"] == "epoch and thresholds were chosen on this part"


def test_the_promoted_folder_is_a_package_that_answers_as_the_models(home):
    from xlite.package.golden import self_test
    from xlite.package.predict import open_package
    from xlite.predictor import load

    folder, said = home
    promoted = folder / "results" / "s" / "promoted"
    predictor = open_package(promoted)
    assert self_test(predictor, promoted).passed
    golden = sorted((promoted / "golden").glob("*.png"))
    assert len(golden) == 8
    for told, wanted in zip(predictor.predict_batch(golden), load(promoted).predict_batch(golden), strict=True):
        assert told == pytest.approx(wanted, abs=1e-4)
    assert "model.onnx answers as PyTorch does" in said and "Package: " in said


def test_the_promoted_models_own_file_gives_the_recorded_test_value(home, tiny_nih):
    """The number in metrics.json is that of the weights beside it, on the test split as stored."""
    import pandas as pd
    import torch
    from sklearn.metrics import roc_auc_score

    from xlite.data.decode import ImagePreprocess, decode
    from xlite.models.artifact import load_model

    study = home[0] / "results" / "s"
    model, description = load_model(study / "promoted" / "model.safetensors")
    split = pd.read_csv(read_json(study / "study.json")["split_file"], comment="#")
    names = split.loc[split["part"] == "test", "id"]
    images = np.stack([decode(next(tiny_nih.rglob(name)), ImagePreprocess(32)) for name in names])
    with torch.inference_mode():
        scores = model(torch.from_numpy(images)).numpy()
    table = pd.read_csv(tiny_nih / "Data_Entry_2017_v2020.csv", index_col=0)
    recorded = read_json(study / "promoted" / "metrics.json")["test"]["per_label"]
    for label in ("Effusion", "Infiltration", "Cardiomegaly"):
        truth = [label in findings.split("|") for findings in table.loc[names, "Finding Labels"]]
        auc = roc_auc_score(truth, scores[:, description["labels"].index(label)])
        assert recorded[label]["auc"] == pytest.approx(auc, abs=1e-4)


def test_the_screen_says_what_happened(home):
    out = home[1]
    for words in (
        "Teacher resnet10t: validation auc_macro",
        "ASHA compares trials",
        "[4/4]",
        "Promoted student: auc_macro",
    ):
        assert words in out, out
    assert "Effusion" in out and "WARNING" not in out and "Traceback" not in out


def test_the_promoted_configuration_is_the_best_of_two_trained_again_with_two_seeds(home):
    folder, out = home
    with Ledger.open(sqlite_url(folder / "results" / "s" / "study.db"), "s", create=False) as ledger:
        record, searched = ledger.finals()[0].promotion, {row.number: row.value for row in ledger.rows()}
    assert record.seeds == (42, 43) and len(record.candidates) == len(record.test_values) == 2
    chosen = record.candidate
    assert chosen.trial == record.promoted_from and chosen.search_value == searched[chosen.trial]
    (final,) = [row for row in board(folder) if row["phase"] == "final" and row["test_reads"] == "1"]
    assert float(final["retrained_value"]) == pytest.approx(np.mean(chosen.values), abs=1e-4)
    assert float(final["search_value"]) == pytest.approx(chosen.search_value, abs=1e-4)
    assert final["retrained_seeds"] == "2"
    assert "Promotion: the best 2 trials (" in out and f"Trial {chosen.trial}, auc_macro: " in out


def test_the_study_says_where_it_came_from(home):
    study = read_json(home[0] / "results" / "s" / "study.json")
    assert study["meaning"]["metric"] == "auc_macro" and study["versions"]["ray"]
    assert not (home[0] / "results" / "s" / ".ray").exists()


def test_the_same_command_again_runs_nothing_anew_and_more_trials_are_added(home, tiny_nih):
    folder, _ = home
    before = {row["trial"]: row["value"] for row in board(folder) if row["phase"] != "final"}
    started = time.time()
    done = tune(folder, tiny_nih, "--trials", 6, "--no-promote")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 trials are there, 2 to go" in done.stdout
    after = {row["trial"]: row["value"] for row in board(folder) if row["phase"] != "final"}
    assert len(after) == 6 and {number: after[number] for number in before} == before
    assert all(p.stat().st_mtime < started for p in (folder / "results" / "s" / "trials" / "00000").iterdir())


def test_a_study_is_not_continued_as_another_one(home, tiny_nih):
    done = tune(home[0], tiny_nih, "--trials", 8, "--seed", 7)
    assert done.returncode == 2
    assert "seed was 42 and is now 7" in done.stderr and done.stderr.count("\n") == 1


def test_a_chosen_trial_is_promoted_by_itself_and_its_reading_of_test_counted(home):
    folder, _ = home
    words = ("promote", "--study", "s", "--results", folder / "results", "--trial", 1, "--epochs", 2)
    done = run_runner(*words)
    assert done.returncode == 2 and "its test part has been read 1 time (last: promotion of trial" in done.stderr
    done = run_runner(
        "promote",
        "--study",
        "s",
        "--results",
        folder / "results",
        "--trial",
        1,
        "--epochs",
        2,
        "--again",
        "--no-package",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on test, read 2 times" in done.stdout
    metrics = json.loads((folder / "results" / "s" / "promoted" / "metrics.json").read_text())
    assert metrics["test"]["reads_of_test_in_this_study"] == 2
    assert len([row for row in board(folder) if row["phase"] == "final"]) == 2


def test_the_runners_print_the_leaderboard_of_a_study(home):
    done = run_runner("leaderboard", "--study", "s", "--results", home[0] / "results")
    assert done.returncode == 0 and "mobilenetv3_small_050" in done.stdout


def test_ended_trials_and_promotions_keep_no_checkpoints(home):
    study = home[0] / "results" / "s"
    assert list(study.rglob("*.safetensors")) and not list(study.rglob("*checkpoint*"))


def test_nothing_was_written_outside_the_named_folders(home):
    assert not (REPO / "ray_results" / "s").exists()
