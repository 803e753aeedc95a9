"""Optuna's dashboard reads a study, in SQLite and in PostgreSQL."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import postgres
from studies import NUM_TRIALS, RATE, drive, open_study

from xlite.ledger import sqlite_url

pytestmark = pytest.mark.xdist_group("postgres")
START_S = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "study.db")
        return
    with postgres() as server:
        yield server.new_database("studies")


@contextmanager
def dashboard(url: str, log: Path) -> Iterator[str]:
    """A dashboard's address on the loopback; it is ended on leaving."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, url, "--host", "127.0.0.1", "--port", str(port)], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_S)


def read(address: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=START_S) as answer:
        return json.load(answer)


def test_it_lists_the_study_with_its_trials_and_their_curves(url: str, tmp_path: Path) -> None:
    with open_study(url) as earlier:  # as an earlier version left it: its value has no name
        drive(earlier)
    with open_study(url, metadata={"metric": "auc_macro"}) as ledger:
        rows = ledger.rows()
    with dashboard(url, tmp_path / "log") as address:
        (study,) = read(f"{address}/api/studies")["study_summaries"]
        assert (study["study_name"], study["directions"]) == ("s", ["maximize"])
        answer = read(f"{address}/api/studies/{study['study_id']}?after=0")
        trials = answer["trials"]
    assert answer["objective_names"] == ["val_auc_macro"]
    assert len(trials) == NUM_TRIALS
    for row, trial in zip(rows, trials, strict=True):
        assert trial["state"] == {"complete": "Complete", "pruned": "Pruned", "failed": "Fail"}[row.state]
        assert trial.get("values") == (None if row.value is None else [row.value])
        assert {point["step"]: point["value"] for point in trial["intermediate_values"]} == row.curve
        shown = {parameter["name"]: parameter["param_internal_value"] for parameter in trial["params"]}
        assert shown.get(RATE) == (row.overrides[RATE] if row.curve else None)
