"""TensorBoard as a person starts it, asked for what its HParams tab shows."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_S = 120
STATUSES = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]


@contextmanager
def tensorboard(logdir: Path, log: Path) -> Iterator[subprocess.Popen]:
    """A process on a free port of the loopback; it is ended on leaving. `log`: what it prints."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)


def hparams(process: subprocess.Popen, log: Path, *, num_runs: int) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The HParams tab once it has so many runs: its columns, sorted; {run: {column: value, "status": its own}}."""
    request = {"startIndex": 0, "sliceSize": 1000, "allowedStatuses": STATUSES}
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        groups = ask(f"{address[0]}/data/plugin/hparams/session_groups", request) if address else {}
        if len(runs := groups.get("sessionGroups", [])) == num_runs:
            break
        time.sleep(0.3)
    experiment = ask(f"{address[0]}/data/plugin/hparams/experiment", {})
    columns = [info["name"] for info in experiment["hparamInfos"]]
    columns += [info["name"]["tag"] for info in experiment["metricInfos"]]
    return sorted(columns), {group["name"]: _values(group) for group in runs}


def _values(group: dict[str, Any]) -> dict[str, Any]:
    (session,) = group["sessions"]
    metrics = {metric["name"]["tag"]: metric["value"] for metric in group.get("metricValues", [])}
    return {**group["hparams"], **metrics, "status": session.get("status", "STATUS_UNKNOWN")}


def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """What TensorBoard answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with opener.open(urllib.request.Request(address, data, headers), timeout=START_S) as answer:
        return json.load(answer)
