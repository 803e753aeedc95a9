"""Nested cross-validation as a person runs it: killed between its outer folds, continued, told in one table."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO, read_json, run_runner

from xlite.ledger import open_to_read

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
SPACE = """
BASELINE = {"distill.alpha": 0.0, "optim.learning_rate": 3e-3}
def space(trial):
    return {"distill.alpha": 0.0, "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-3, 1e-2)}
"""


def parts_of(folder, study):
    """{id: part} of a study, from its stored split."""
    file = read_json(folder / "results" / study / "study.json")["split_file"]
    with Path(file).open() as lines:
        next(lines)
        return {row["id"]: row["part"] for row in csv.DictReader(lines)}


def test_a_nested_run_is_killed_between_folds_continued_and_told(tiny_nih, tmp_path):
    (tmp_path / "space.py").write_text(SPACE)
    command = [
        *("--data", tiny_nih, "--results", tmp_path / "results", "--cache-dir", tmp_path / "cache", "--study", "n"),
        *("--space", tmp_path / "space.py", "--max-epochs", 1, "--promote-epochs", 1, "--trials", 1),
        *("--image-size", 32, "--outer-folds", 2),
    ]
    words = [sys.executable, REPO / "runners" / "tune_kd.py", *map(str, command)]
    said = ""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/") as started:
        assert started.stdout is not None
        for line in started.stdout:
            said += line
            if line.startswith("Study n-outer2of2"):
                started.send_signal(signal.SIGKILL)
    assert "2 outer folds, a search for each: about" in said, said
    first = tmp_path / "results" / "n-outer1of2" / "promoted"
    made = {file.name: file.stat().st_mtime_ns for file in first.iterdir() if file.is_file()}
    assert "metrics.json" in made and not (tmp_path / "results" / "n" / "nested.csv").exists()
    refused = run_runner("tune_kd", *command, "--max-epochs", 2)
    assert refused.returncode == 2 and "--max-epochs was 1 and is now 2" in refused.stderr

    time.sleep(0.01)
    done = run_runner("tune_kd", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Outer fold 1 of 2 has been judged: n-outer1of2 is not run again" in done.stdout
    assert {file.name: file.stat().st_mtime_ns for file in first.iterdir() if file.is_file()} == made
    parts = [parts_of(tmp_path, f"n-outer{fold}of2") for fold in (1, 2)]
    for name in parts[0]:
        assert sorted(part[name] == "test" for part in parts) == [False, True]  # judged once
    patients = [{name.split("_")[0] for name, part in parts[0].items() if part == each} for each in ("test", "train")]
    assert not patients[0] & patients[1]
    with (tmp_path / "results" / "n" / "nested.csv").open() as file:
        *folds, total = csv.DictReader(file)
    scores = []
    for fold, row in enumerate(folds, start=1):
        folder = tmp_path / "results" / f"n-outer{fold}of2"
        with open_to_read(folder) as ledger:
            (final,) = ledger.finals()  # its outer fold was read once
        assert final.promotion is not None and final.promotion.reads_of_test == 1
        scores.append(read_json(folder / "promoted" / "metrics.json")["test"]["metrics"]["auc_macro"])
        assert float(row["outer"]) == pytest.approx(scores[-1], abs=1e-4) and int(row["examples"]) == 60
    assert float(total["outer"]) == pytest.approx(np.mean(scores), abs=1e-4)
    assert float(total["sd"]) == pytest.approx(np.std(scores, ddof=1), abs=1e-4)
    assert float(total["low"]) < float(total["outer"]) < float(total["high"])
    assert f"2 outer folds: auc_macro {float(total['outer']):.4f}" in done.stdout
