"""Real studies as real processes, killed at chosen instants, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
NUM_TRIALS, NUM_IMAGES = 6, 48
LIMIT_S = float(os.environ.get("XLITE_FAULTS_LIMIT_S", 400))
"""A command that has not ended by then hangs; on a busy machine set it higher."""
MARK = "XLITE_FAULTS_MARK"
SPACE = """
BASELINE = {"model.backbone": "mobilenetv3_small_050", "distill.alpha": 0.5, "distill.temperature": 2.0,
            "optim.learning_rate": 3e-3}
def space(trial):
    return {"model.backbone": "mobilenetv3_small_050",
            "distill.alpha": trial.suggest_float("distill.alpha", 0.1, 1.0),
            "distill.temperature": trial.suggest_float("distill.temperature", 1.0, 16.0, log=True),
            "optim.learning_rate": trial.suggest_float("optim.learning_rate", 1e-4, 1e-2, log=True)}
"""
PHASES = ("start", "cache", "teacher", "bank", "search", "promotion")
VICTIMS = {
    "driver": (),
    "worker": ("ray::DistillationTrial", "ray::ResourceTrainable"),
    "raylet": ("raylet",),
    "gcs": ("gcs_server",),
    "machine": (),
}
"""How the titles of what can be killed begin; the machine is everything at once."""


def make_home(folder: Path) -> Path:
    """Images and a space; every study below it works on these."""
    if str(HERE.parent) not in sys.path:  # this is no run of pytest
        sys.path.append(str(HERE.parent))
    from conftest import write_nih_folder

    write_nih_folder(folder / "nih", NUM_IMAGES, px=32)
    (folder / "space.py").write_text(SPACE)
    return folder


@dataclass(frozen=True)
class Place:
    """Where one study lies: its own results and cache, so that all of it is made anew."""

    home: Path
    name: str
    concurrent: int = 1
    task: str = "tiny_task:TASK"
    space: str = "space.py"
    more: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        return self.home / self.name

    @property
    def study(self) -> Path:
        return self.root / "results" / "s"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def words(self) -> list[str]:
        """The command; to continue is to give the same again."""
        return [
            "--task", self.task, "--data", str(self.home / "nih"), "--results", str(self.root / "results"),
            "--cache-dir", str(self.cache), "--study", "s", "--space", str(self.home / self.space),
            "--max-concurrent", str(self.concurrent), "--max-epochs", "5", "--trials", str(NUM_TRIALS),
            "--promote-top", "1", "--promote-seeds", "1", "--no-package", *self.more,
        ]  # fmt: skip

    def phase(self) -> str:
        """What is going on, as the disk has it: the latest thing begun that is not finished."""
        if any((self.study / folder / "lock").exists() for folder in ("promoted", "retrained")):
            return "promotion"
        if (self.study / "trials").exists():
            return "search"
        for phase, folders, whole in (
            ("bank", "banks/*", "bank.json"),
            ("teacher", "teachers/*", "teacher.json"),
            ("cache", "[0-9a-f]" * 32, "cache.json"),
        ):
            if any(not (folder / whole).exists() for folder in self.cache.glob(folders)):
                return phase
        return "start"

    def num_epochs(self) -> int:
        """Epochs that trials have told of."""
        texts = [file.read_text() for file in self.study.glob("trials/*/trial.json")]
        return sum(json.loads(text).get("epochs", 0) for text in texts)


@dataclass
class Run:
    """One process of the command, in a session of its own, and all that comes of it."""

    place: Place
    environment: dict[str, str] = field(default_factory=dict)
    known: dict[tuple[int, float], psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.place.root.mkdir(parents=True, exist_ok=True)
        self.mark = uuid.uuid4().hex
        self.log = self.place.root / "log.txt"
        self.begin = self.log.stat().st_size if self.log.exists() else 0
        path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(REPO / "runners" / "tune_kd.py"), *self.place.words()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, MARK: self.mark, **self.environment},
            )

    def output(self) -> str:
        """What this process has printed so far."""
        with self.log.open("rb") as log:
            log.seek(self.begin)
            return log.read().decode(errors="replace")

    def target_spec(self) -> list[psutil.Process]:
        """All living processes that this one started, near or far, be their parents dead or not; itself first.

        Found by descent and by a mark in the environment: a worker that renames itself may lose the mark.
        """
        found = [process for process in psutil.process_iter() if _has_mark(process, self.mark)]
        for process in [*found, *list(self.known.values())]:
            try:
                found += process.children(recursive=True)
            except psutil.NoSuchProcess:
                continue
        self.known |= {(process.pid, process.create_time()): process for process in found if process.is_running()}
        alive = [process for process in self.known.values() if _lives(process)]
        return sorted(alive, key=lambda process: (process.pid != self.process.pid, process.pid))

    def find(self, victim: str) -> psutil.Process | None:
        """The driver, or the process of that kind."""
        if victim in ("driver", "machine"):
            return psutil.Process(self.process.pid)
        return next((process for process in self.target_spec() if _title(process).startswith(VICTIMS[victim])), None)

    def kill(self, victim: str) -> bool:
        """SIGKILL; "machine" is the driver and everything it started, at once. False where there is none."""
        found = self.find(victim) if self.process.poll() is None else None
        if found is None:
            return False
        while victim == "machine" and (target_spec := self.target_spec()):
            for process in target_spec:
                _kill(process)
        _kill(found)
        return True

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """Its exit code; None where it hangs."""
        until = time.monotonic() + limit_s
        while self.process.poll() is None and time.monotonic() < until:
            self.target_spec()
            time.sleep(0.2)
        return self.process.poll()

    def wait_until(self, condition: Callable[[], object], limit_s: float = LIMIT_S, every_s: float = 0.01) -> bool:
        """Whether the condition came true while the process ran."""
        until = time.monotonic() + limit_s
        while self.process.poll() is None and time.monotonic() < until:
            if condition():
                return True
            time.sleep(every_s)
        return False

    def left_over(self, within_s: float = 15.0) -> list[str]:
        """Titles of what still lives so long after; it is ended then."""
        until = time.monotonic() + within_s
        while (left := self.target_spec()) and time.monotonic() < until:
            time.sleep(0.2)
        titles = [_title(process) for process in left]
        self.end()
        return titles

    def end(self) -> None:
        """Leave nothing running, whatever happened."""
        while target_spec := self.target_spec():
            for process in target_spec:
                _kill(process)
        self.process.wait()


def finish(place: Place, runs: list[Run]) -> str:
    """The same command again until it ends well; what went wrong, "" if nothing did."""
    run = Run(place)
    runs.append(run)
    code = run.wait()
    if code == 0:
        return ""
    return "the command hangs" if code is None else f"exit {code}: {run.output()[-2000:]}"


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    return Path(words[0]).name if words else ""


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
