"""`--time-budget` ends a real search as its help says: nothing starts after it, what runs ends, the exit code is 0."""

import time

import pytest
from conftest import run_runner

from xlite.ledger import Ledger, study_storage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]  # tests/tune has the decisions themselves
SPACE = """
CONFIGURATIONS = [{"distill.alpha": 0.0, "optim.learning_rate": 1e-3 + 1e-6 * i} for i in range(100)]
"""


def test_the_search_ends_in_order_when_its_time_is_over(tmp_path, tiny_nih):
    (tmp_path / "space.py").write_text(SPACE)

    def tune(*more):
        started = time.monotonic()
        done = run_runner(
            "tune_kd", "--no-package",
            "--data", tiny_nih, "--results", tmp_path / "results", "--cache-dir", tmp_path / "cache",
            "--study", "s", "--space", tmp_path / "space.py", "--max-epochs", 40, "--image-size", 32,
            "--max-concurrent", 1, "--set", "train.patience=40", "--promote-top", 1, "--promote-seeds", 1, *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, time.monotonic() - started

    said, took_s = tune("--time-budget", "1s")
    assert "The time budget is spent, 100 trials are left. The same command with --study s runs them" in said

    budget_s = took_s + 8  # Ray starts too
    said, _ = tune("--time-budget", f"{budget_s:.0f}s", "--promote-reserve", "20s", "--promote-epochs", 1_000_000)
    with Ledger.open(study_storage(tmp_path / "results" / "s"), "s", create=False) as ledger:
        rows = [row for row in ledger.rows() if row.state != "waiting"]
    assert 1 <= len(rows) < 100 and {row.state for row in rows} == {"complete"}
    assert f"The time budget is spent, {100 - len(rows)} trials are left" in said and "Stopped" not in said
    assert f"are left. To promote trial {best_number(rows)}: xlite promote --study s --results " in said


def best_number(rows):
    return max(rows, key=lambda row: (row.value, -row.number)).number
