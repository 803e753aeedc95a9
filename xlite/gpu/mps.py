"""NVIDIA MPS for one study: processes on one GPU compute at the same time instead of taking turns.

Commands, files and variables as in NVIDIA's "Multi-Process Service" guide, appendix "Tools and Interface Reference".
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from xlite.errors import InputError
from xlite.storage.files import read_json, write_json
from xlite.storage.folders import temporary_folder

CONTROL = "nvidia-cuda-mps-control"
PIPE_VARIABLE, LOG_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
RECORD = "daemon.json"
"""File in the study's MPS folder while its daemon runs, so that the next driver can end the daemon of a killed one."""
CLIENT = """
import sys, torch
try:
    for index in range(int(sys.argv[1])):
        total = torch.arange(1000, device=f"cuda:{index}").sum().item()
        assert total == 499500, f"GPU {index} adds up 0 to 999 to {total}"
except Exception as error:
    sys.exit(str(error).partition("\\n")[0])
"""
"""A process that computes on so many GPUs, or ends with the reason why it cannot."""
START_S, ANSWERING_S, ANSWER_S, CLIENT_S, CLIENTS_S, QUIT_S, SIGNAL_S = 30.0, 10.0, 5.0, 90.0, 10, 30.0, 3.0
"""Time limits: for the start, until the first answer, for one command, for CLIENT, which imports PyTorch, for clients
that are still ending, for `quit`, and for a process to end after a signal."""
_PID_FILE = f"{CONTROL}.pid"
_NUM_BELOW = len("/mps12345678") + 39  # characters of a socket's path below the temporary folder


@dataclass(frozen=True)
class Mps:
    """MPS for a study, or why there is none.

    Attributes:
        environment: variables for each worker before it first uses CUDA; empty without MPS.
        reason: why there is no MPS; empty with it.
    """

    environment: Mapping[str, str]
    reason: str = ""

    @property
    def runs(self) -> bool:
        """Whether MPS is in use, so that kernels of several trials overlap."""
        return bool(self.environment)


def can_start(num_gpus: int) -> str:
    """Why MPS cannot be started on this machine; empty if it can."""
    if num_gpus == 0:
        return "there is no GPU"
    return "" if shutil.which(CONTROL) else f"{CONTROL} is not installed"


@contextmanager
def mps_daemon(folder: Path, *, num_gpus: int) -> Iterator[Mps]:
    """Run a control daemon within the context; the workers must end before the context does.

    It counts only if a process has computed through it; else it is ended at once. If the environment names a daemon
    that answers (a batch system may run one), that is used, and not ended.

    Args:
        folder: for the daemon's logs and the record of it.
        num_gpus: that this process sees.

    Yields:
        MPS's variables, or the reason why it cannot be used.
    """
    reason = can_start(num_gpus)
    if reason:
        yield Mps({}, reason)
        return
    existing = os.environ.get(PIPE_VARIABLE)
    if existing and _answers(_environment(existing, None)):
        yield _tried({PIPE_VARIABLE: existing}, num_gpus)
        return
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _end_abandoned(folder)
    pipes = Path(tempfile.mkdtemp(prefix="mps", dir=temporary_folder(_NUM_BELOW)))
    try:
        write_json(
            folder / RECORD, {"pipes": str(pipes)}
        )  # first, so that the daemon is found however this process ends
        reason = _start(_environment(str(pipes), folder), folder / "start.log")
        own = {PIPE_VARIABLE: str(pipes), LOG_VARIABLE: str(folder)}
        mps = Mps({}, reason) if reason else _tried(own, num_gpus)
        if not mps.runs:
            _end(pipes, folder)
        yield mps
    finally:
        _end(pipes, folder)
        (folder / RECORD).unlink(missing_ok=True)


def _tried(environment: Mapping[str, str], num_gpus: int) -> Mps:
    """MPS by the daemon of these variables, if a process with them computes and the daemon then has a server for it.

    Neither alone is proof: in a container a daemon may answer that clients cannot reach (CUDA error 805), and a process
    that meets no daemon computes without one. A server stays when its last client has ended.
    """
    command = [sys.executable, "-c", CLIENT, str(num_gpus)]
    variables = {**os.environ, **environment}
    try:
        done = subprocess.run(
            command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_S
        )
    except subprocess.TimeoutExpired:
        return Mps({}, f"a process computed nothing through MPS within {CLIENT_S:g} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Mps({}, f"a process cannot compute through MPS ({lines[-1] if lines else f'code {done.returncode}'})")
    if not (_send("get_server_list", variables, limit_s=ANSWER_S) or "").strip():
        return Mps({}, "a process computed, but not through MPS: the daemon has no server for it")
    return Mps(environment)


def _environment(pipes: str, logs: Path | None) -> dict[str, str]:
    """For the control program; it must see all GPUs, since Ray assigns them to workers by their system-wide numbers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_MPS_") and k != "CUDA_VISIBLE_DEVICES"}
    return {**kept, PIPE_VARIABLE: pipes, **({LOG_VARIABLE: str(logs)} if logs else {})}


def _start(environment: Mapping[str, str], log: Path) -> str:
    """Start the daemon and wait until it answers; returns why that failed, or ""."""
    with log.open("w") as output:  # not a pipe, which the daemon would keep open
        try:
            done = subprocess.run(
                [CONTROL, "-d"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=START_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{CONTROL} did not start ({type(error).__name__})"
    if done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"{CONTROL} did not start ({lines[-1] if lines else f'code {done.returncode}'})"
    deadline = time.monotonic() + ANSWERING_S
    while not _answers(environment):
        if time.monotonic() > deadline:
            return f"{CONTROL} started but does not answer"
        time.sleep(0.1)
    return ""


def _answers(environment: Mapping[str, str]) -> bool:
    return _send("get_server_list", environment, limit_s=ANSWER_S) is not None


def _send(command: str, environment: Mapping[str, str], *, limit_s: float) -> str | None:
    """Send the daemon one command; returns what it prints, None if it fails."""
    try:
        done = subprocess.run(
            [CONTROL], env=environment, input=f"{command}\n", text=True, capture_output=True, timeout=limit_s
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _end(pipes: Path, folder: Path) -> None:
    """Make the daemon of this pipe folder quit, by signals if need be, and remove the folder."""
    processes = _processes(pipes)
    _send(f"quit -t {CLIENTS_S}", _environment(str(pipes), folder), limit_s=QUIT_S)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        processes = _left(processes)
        for process in processes:
            with suppress(psutil.Error):
                end(process)
    _left(processes)
    shutil.rmtree(pipes, ignore_errors=True)


def _end_abandoned(folder: Path) -> None:
    """End the daemon that a killed driver of this study left behind."""
    with suppress(InputError, KeyError, TypeError):
        pipes = Path(read_json(folder / RECORD)["pipes"])
        if pipes.name.startswith("mps"):  # a folder this module made
            _end(pipes, folder)


def _processes(pipes: Path) -> list[psutil.Process]:
    """The servers and the daemon of this pipe folder."""
    with suppress(OSError, ValueError, psutil.Error):
        daemon = psutil.Process(int((pipes / _PID_FILE).read_text()))
        if any(CONTROL in word for word in daemon.cmdline()):  # else another process has its number now
            return [*daemon.children(), daemon]
    return []


def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended within SIGNAL_S."""
    deadline = time.monotonic() + SIGNAL_S
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    """Whether it holds anything still: in a container nobody may ask after one that has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
