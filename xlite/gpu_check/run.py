"""Runs the steps one after the other, each in a process of its own with a time limit, and keeps what they found."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xlite.errors import InputError
from xlite.gpu_check.child import shown
from xlite.gpu_check.steps import Step
from xlite.storage.files import read_json_object, write_json

TO_END_S = 20.0
"""What a step has after its time limit to end what it started, e.g. a daemon."""


@dataclass
class Found:
    """What one step gave.

    Attributes:
        result: "ok", "below goal" (right, but slower than the goal), "failed", "passed over" (something it needs is not
            installed), "not measured" (it needs a GPU and there is none), "running" or "not run".
    """

    result: str = "not run"
    seconds: float = 0.0
    summary: str = ""
    numbers: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "seconds": round(self.seconds, 1)}

    @property
    def missed(self) -> list[dict[str, Any]]:
        """The numbers that miss a goal."""
        return [number for number in self.numbers if number["reached"] is False]


@dataclass
class Results:
    """What the check has found, rewritten in `file` with every number, so that a killed check leaves what it has.

    Attributes:
        about: of the machine, and the device that was asked for.
    """

    file: Path
    about: Mapping[str, Any]
    steps: dict[str, Found] = field(default_factory=dict)

    def write(self) -> None:
        """Replace the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, {**self.about, "steps": {name: found.json() for name, found in self.steps.items()}})

    def keep_earlier(self, card: Found) -> None:
        """Take over the other steps of an earlier check on the same card, driver and versions."""
        with suppress(InputError, KeyError, TypeError):
            steps = {name: Found(**found) for name, found in read_json_object(self.file)["steps"].items()}
            if _facts(steps["card"]) == _facts(card):
                self.steps |= steps

    @property
    def failed(self) -> list[str]:
        """Names of steps that failed."""
        return [name for name, found in self.steps.items() if found.result == "failed"]


def run_steps(steps: Sequence[Step], device: str, folder: Path, results: Results, say: Callable[[str], None]) -> None:
    """Run them in order; a line is said as each ends.

    Args:
        folder: for their files.
    """
    results.steps |= {step.name: Found() for step in steps}
    for step in steps:
        found = results.steps[step.name]
        reason = why_not(step, device)
        if reason:
            found.result, found.summary = reason
        else:
            found.result = "running"
            results.write()
            run_step(step, device, folder, found, results.write)
        results.write()
        say(line_of(step.name, found))
        for number in found.missed:
            say(f"{'':13}{number['what']}: {shown(number['value'])}, goal: {number['goal']}")


def why_not(step: Step, device: str) -> tuple[str, str] | None:
    """Result and reason of a step that cannot be run here."""
    if step.gpu_only and device == "cpu":
        return "not measured", "no GPU"
    missing = [name for name in step.needs if find_spec(name) is None]
    return ("passed over", f"not installed: {', '.join(missing)}") if missing else None


def run_step(step: Step, device: str, folder: Path, found: Found, kept: Callable[[], None]) -> None:
    """Run one step, to its end or its time limit; a process that is lost is a failed step.

    Args:
        kept: called after each number.
    """
    own = folder / step.name
    own.mkdir(parents=True)
    log, started, late = folder / f"{step.name}.log", time.monotonic(), threading.Event()
    with _child(step, device, own, log) as process:
        assert process.stdout is not None

        def end() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(step.limit_s, end)
        timer.start()
        try:
            for line in process.stdout:
                told = json.loads(line)
                if "ended" in told:
                    found.result, found.summary = told["ended"], told["summary"]
                else:
                    found.numbers.append(told)
                    kept()
            process.wait()
        finally:
            timer.cancel()
    found.seconds = time.monotonic() - started
    if late.is_set() and found.result == "running":
        found.result, found.summary = "failed", f"ended: it took longer than {step.limit_s:g} s"
    elif found.result == "running":
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"code {process.returncode}"
        found.result, found.summary = "failed", f"its process was lost ({how}): {last_line(log)}"
    if found.result == "ok" and found.missed:
        found.result = "below goal"
    if found.result == "failed":
        found.summary += f"\n{_tail(log)}" if log.stat().st_size else ""


@contextmanager
def _child(step: Step, device: str, folder: Path, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """The step's process, in a session of its own; nothing of it is left afterwards."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "xlite.gpu_check.child", step.function, device, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
        )
    with process:  # closes the pipes
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end, then end it and all it started."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=TO_END_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    """Of what a process wrote to standard error."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _tail(log: Path) -> str:
    return "\n".join(f"{'':13}| {line}" for line in log.read_text(errors="replace").rstrip().splitlines()[-12:])


def line_of(name: str, found: Found) -> str:
    """A line on a step that has ended."""
    return f"{found.result:<13}{name:<12}{found.seconds:6.1f} s  {found.summary}"


def _facts(card: Found) -> dict[str, Any]:
    passing = ("date", "free, GiB")
    return {number["what"]: number["value"] for number in card.numbers if number["what"] not in passing}


def file_name(card: str) -> str:
    """E.g. "nvidia-h100-80gb-hbm3.json"."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-") + ".json"
