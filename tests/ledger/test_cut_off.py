"""A study whose process dies at any instant goes on as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xlite.ledger import sqlite_url

SCRIPT = Path(__file__).with_name("cut_off.py")


def deaths(url: str, every: int) -> str:
    """What `cut_off.py` prints."""
    command = [sys.executable, str(SCRIPT), url, str(every)]
    places = os.pathsep.join((str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")))  # where studies.py is
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_dying_before_every_fourth_write_changes_nothing(tmp_path: Path) -> None:
    assert int(deaths(sqlite_url(tmp_path / "study.db"), 4)) > 9


@pytest.mark.slow
def test_dying_before_any_write_changes_nothing(tmp_path: Path) -> None:
    assert int(deaths(sqlite_url(tmp_path / "study.db"), 1)) > 39
