"""A study whose process dies at any moment continues as if uninterrupted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xlite.ledger import sqlite_url

TESTS = Path(__file__).parents[1]


def deaths(url: str, every: int) -> str:
    """The output of `cut_off.py`."""
    command = [sys.executable, "-m", "ledger.cut_off", url, str(every)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=one_thread, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_dying_before_every_fourth_write_changes_nothing(tmp_path: Path) -> None:
    assert int(deaths(sqlite_url(tmp_path / "study.db"), 4)) > 9


@pytest.mark.slow
def test_dying_before_any_write_changes_nothing(tmp_path: Path) -> None:
    assert int(deaths(sqlite_url(tmp_path / "study.db"), 1)) > 39
