"""Studies that an earlier version made still open, go on and grow: tests/fixtures/README.md says how they were made."""

import csv
import sqlite3
from contextlib import closing

import pytest
from conftest import lay_out, read_json, run_runner

from xlite.package.predict import open_package

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
COMPARED = (
    *("trial", "rank", "status", "value", "metric", "epochs", "best_epoch", "notes", "date", "model_name"),
    *("cnn_backbone", "attention_type", "kd_temperature", "kd_alpha", "batch_size", "learning_rate", "train_loss"),
    *("val_auc_macro", "val_f1_macro", "test_auc_macro", "test_f1_macro", "test_value", "gap", "seed", "num_params"),
    *("inference_time_ms", "model_size_mb", "seconds", "device_seconds", "loss", "schedule", "sampler"),
)
"""Columns of a leaderboard whose names and cells an earlier version's rows keep."""
NUM_TRIALS = 7
"""Instead of the five that the study was to have, of which four had ended."""
CUT_OFF, TOLD, KEPT, MAX_EPOCHS = 4, 3, 4, 6
"""The trial that was cut off; epochs of it that the ledger knows, that its checkpoint has, and that it is to have."""


def run(name, *arguments):
    """The output of a runner on the CPU, where the studies were made, that had nothing to complain of."""
    done = run_runner(name, *arguments, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tune(home, num_trials):
    """The command that the STM study was made with."""
    return run(
        "tune_kd", "--no-package",
        "--task", "stm_scanlines", "--data", home / "data", "--cache-dir", home / "cache",
        "--results", home / "results", "--study", "stm", "--space", home / "space.py",
        "--teacher", home / "teacher" / "teacher.safetensors", "--image-size", 16, "--seed", 1,
        "--max-epochs", MAX_EPOCHS, "--promote-epochs", 4, "--max-concurrent", 1,
        "--promote-top", 1, "--promote-seeds", 1, "--set", "data.window_lines=16",
        "--set", "data.augmentation=none", "--set", "model.layers=1", "--set", "model.width=8",
        "--set", "model.ffn_width=16", "--set", "model.attention_heads=2", "--set", "optim.warmup_epochs=1",
        "--trials", num_trials,
    )  # fmt: skip


def in_database(home):
    """Trial number -> (state, curve), by SQL: what is on the disk, whatever this version makes of it."""
    of_study = "FROM trials t JOIN studies s USING (study_id)"
    with closing(sqlite3.connect(home / "results" / "stm" / "study.db")) as database:
        states = database.execute(f"SELECT t.number, t.state {of_study} WHERE s.study_name = 'stm'").fetchall()
        points = database.execute(
            f"SELECT t.number, v.step, v.intermediate_value {of_study} "
            "JOIN trial_intermediate_values v USING (trial_id) WHERE s.study_name = 'stm'"
        ).fetchall()
    return {
        number: (state, {epoch: value for owner, epoch, value in points if owner == number}) for number, state in states
    }


def trial_files(home, number):
    """Name -> content of what lies in a trial's folder."""
    return {path.name: path.read_bytes() for path in (home / "results" / "stm" / "trials" / f"{number:05d}").iterdir()}


def table(path):
    """A leaderboard's rows, of the compared columns and those of labels."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    names = [*COMPARED, *(name for name in rows[0] if name.startswith("val_auc_") and name != "val_auc_macro")]
    # F1 was at 0.5 for labels too; that now stands in a column of its own
    return [{name: row.get(f"{name}_at_half", row[name]) for name in names} for row in rows]


def promotions(home):
    """The trials of the leaderboard's rows that were tested."""
    return [row["trial"] for row in table(home / "results" / "stm" / "leaderboard.csv") if row["test_value"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The STM study as it was left; nobody changes it."""
    return lay_out("study_stm", tmp_path_factory.mktemp("made") / "home")


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """The STM study after its own command was given again with a larger --trials, and what that printed."""
    home = lay_out("study_stm", tmp_path_factory.mktemp("continued") / "home")
    return home, tune(home, NUM_TRIALS)


@pytest.mark.parametrize("study", ["stm", "chest"])
def test_its_leaderboard_has_the_rows_it_had(study, tmp_path):
    home = lay_out(f"study_{study}", tmp_path / "home")
    shown = run("leaderboard", "--study", study, "--results", home / "results", "--csv", tmp_path / "now.csv")
    before = table(home / "results" / study / "leaderboard.csv")
    assert table(tmp_path / "now.csv") == before
    assert f"{len(before)} rows in" in shown


def test_it_is_analysed_with_what_its_rows_and_its_description_say(tmp_path):
    home = lay_out("study_chest", tmp_path / "home")
    said = run("analyze", "--study", "chest", "--results", home / "results")
    for words in (
        "Study chest: 10 trials, 4 complete",
        "0 pairs, 3 trials with a teacher and 1 without",
        "The best student (trial 0) differs from the teacher by +0.0741",
        "8 of 8 judged trials collapsed, 2 of 10 trials failed",
        "(cpu, 9 runs)",
    ):
        assert words in said, said
    report = (home / "results" / "chest" / "analysis" / "analysis.md").read_text()
    assert "10 trials: 4 complete, 2 failed, 4 pruned; 1 promotion." in report
    assert "| 1 | 9 | the loss is nan at epoch 1, step 1 (learning rate 0.003) |" in report


def test_a_cut_off_trial_goes_on_after_its_last_epoch(made, continued):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    home, said = continued
    assert f"4 trials are there, {NUM_TRIALS - 4} to go, 1 of them from their last epoch" in said
    state, earlier = in_database(made)[CUT_OFF]
    assert (state, sorted(earlier)) == ("RUNNING", list(range(1, TOLD + 1)))
    state, curve = in_database(home)[CUT_OFF]
    assert (state, sorted(curve)) == ("COMPLETE", list(range(1, MAX_EPOCHS + 1)))
    assert {epoch: curve[epoch] for epoch in earlier} == earlier
    # The earlier version's events are no part of the fixture, so these are the epochs that were trained here.
    (run,) = (home / "results" / "stm" / "runs").glob(f"{CUT_OFF:05d} *")
    events = EventAccumulator(str(run))
    events.Reload()
    trained = [event.step for event in events.Scalars("val/balanced_accuracy")]
    assert trained == list(range(KEPT + 1, MAX_EPOCHS + 1))
    before, after = (read_json(place / "results/stm/trials" / f"{CUT_OFF:05d}/trial.json") for place in (made, home))
    assert (before["epochs"], after["epochs"]) == (KEPT, MAX_EPOCHS)
    assert after["curve"][:KEPT] == before["curve"]
    assert not [name for name in trial_files(home, CUT_OFF) if "checkpoint" in name]


def test_trials_that_had_ended_stay_as_they_were(made, continued):
    before, after = in_database(made), in_database(continued[0])
    assert [before[number][0] for number in range(CUT_OFF)] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    for number in range(CUT_OFF):
        assert after[number] == before[number]
        assert trial_files(continued[0], number) == trial_files(made, number)


def test_a_larger_number_of_trials_adds_some_from_the_same_space(continued):
    home, said = continued
    trials = in_database(home)
    assert sorted(trials) == list(range(NUM_TRIALS)) and f"[{NUM_TRIALS}/{NUM_TRIALS}]" in said
    assert {trials[number][0] for number in range(CUT_OFF + 1, NUM_TRIALS)} <= {"COMPLETE", "PRUNED", "FAIL"}
    rows = table(home / "results" / "stm" / "leaderboard.csv")
    searched = {int(row["trial"]): row for row in rows if not row["test_value"]}
    assert sorted(searched) == list(range(NUM_TRIALS))
    assert {row["cnn_backbone"] for row in searched.values()} == {"lines_1x8"}


def test_the_winner_that_was_promoted_is_not_trained_again_nor_is_test_read_anew(made, continued):
    home, said = continued
    assert "Promoted student: balanced_accuracy" in said and "Promoting trial" not in said
    before, after = made / "results" / "stm" / "promoted", home / "results" / "stm" / "promoted"
    assert (after / "model.safetensors").read_bytes() == (before / "model.safetensors").read_bytes()
    old, new = (read_json(folder / "metrics.json")["test"] for folder in (before, after))
    assert new["reads_of_test_in_this_study"] == old["reads_of_test_in_this_study"] == 1
    assert new["metrics"] == pytest.approx(old["metrics"], abs=1e-4)
    assert promotions(home) == ["3"]


def test_another_trial_is_promoted_with_the_study_s_own_teacher(tmp_path):
    home = lay_out("study_stm", tmp_path / "home")
    run("promote", "--study", "stm", "--results", home / "results", "--trial", 0, "--again")
    promoted = home / "results" / "stm" / "promoted"
    model = read_json(promoted / "model.json")
    assert (model["trial"], model["config"]["train.epochs"], model["config"]["distill.alpha"]) == (0, 4, 0.5)
    assert open_package(promoted).about.promotion == read_json(promoted / "metrics.json")["identity"]
    assert read_json(promoted / "metrics.json")["test"]["reads_of_test_in_this_study"] == 2
    assert promotions(home) == ["3", "0"]
