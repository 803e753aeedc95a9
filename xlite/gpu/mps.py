"""NVIDIA MPS for one study: processes on one GPU compute at the same time instead of taking turns.

Commands, files and variables as in NVIDIA's "Multi-Process Service" guide, appendix "Tools and Interface Reference".
"""

import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from xlite.errors import InputError
from xlite.gpu.memory import DeviceMemory
from xlite.storage.files import read_json, write_json

CONTROL = "nvidia-cuda-mps-control"
PIPE_VARIABLE, LOG_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
RECORD = "daemon.json"
"""In the study's MPS folder while its daemon runs: a driver that was killed leaves both, the next one ends it."""
START_S, ANSWERING_S, ANSWER_S, CLIENTS_S, QUIT_S, PATIENCE_S = 30.0, 10.0, 5.0, 10, 30.0, 3.0
"""Patience with the start, until the first answer, with one command, with clients that still end, with `quit` as a
whole, and after a signal."""
_PID_FILE = f"{CONTROL}.pid"
_LONGEST_PIPE_FOLDER = 64  # a Unix socket's whole path may have 107 characters


@dataclass(frozen=True)
class Mps:
    """What a study has of MPS.

    Attributes:
        environment: for each worker before it first uses CUDA; empty where there is no MPS.
        reason: why there is none, for the person; empty where there is.
    """

    environment: Mapping[str, str]
    reason: str = ""

    @property
    def runs(self) -> bool:
        """Whether trials' kernels overlap."""
        return bool(self.environment)


def can_start(num_gpus: int) -> str:
    """Why MPS cannot be started on this machine; empty where nothing speaks against it."""
    if num_gpus == 0:
        return "there is no GPU"
    return "" if shutil.which(CONTROL) else f"{CONTROL} is not installed"


@contextmanager
def mps_daemon(folder: Path, *, num_gpus: int) -> Iterator[Mps]:
    """Run a control daemon of one's own for as long as the context lasts; the workers must have ended before it does.

    Where the environment names a daemon that answers (a batch system may run one), that is used and not ended.

    Args:
        folder: for the daemon's logs and the record of it.
        num_gpus: on this machine.
    """
    reason = can_start(num_gpus)
    if reason:
        yield Mps({}, reason)
        return
    given = os.environ.get(PIPE_VARIABLE)
    if given and _answers(_environment(given, None)):
        yield Mps({PIPE_VARIABLE: given})
        return
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _end_left_over(folder)
    pipes = Path(tempfile.mkdtemp(prefix="mps", dir=_short_temporary_folder()))
    try:
        write_json(folder / RECORD, {"pipes": str(pipes)})  # before it starts: so it is found however this one ends
        reason = _start(_environment(str(pipes), folder), folder / "start.log")
        yield Mps({} if reason else {PIPE_VARIABLE: str(pipes), LOG_VARIABLE: str(folder)}, reason)
    finally:
        _end(pipes, folder)
        (folder / RECORD).unlink(missing_ok=True)


def client_environment(share: float, memory: DeviceMemory) -> dict[str, str]:
    """MPS's limits for one trial; they must be in a process's environment before it first uses CUDA.

    Memory: the share, in whole MiB, the client's own context storage included. Threads: twice the share, which is what
    NVIDIA's guide advises (100% / 0.5 n for n clients), so that what one trial leaves idle another can use. Ray shows a
    worker one GPU, so its device is number 0.

    Raises:
        InputError: the share is below one MiB.
    """
    limit_mib = math.floor(share * memory.usable_bytes / 2**20)
    if limit_mib < 1:
        raise InputError(f"--gpus-per-trial {share:g}: less than a MiB of this GPU")
    return {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={limit_mib}M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(min(100, math.ceil(200 * share))),
    }


def _environment(pipes: str, logs: Path | None) -> dict[str, str]:
    """For the control program. It must see all GPUs under their own numbers, by which Ray tells workers theirs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_MPS_") and k != "CUDA_VISIBLE_DEVICES"}
    return {**kept, PIPE_VARIABLE: pipes, **({LOG_VARIABLE: str(logs)} if logs else {})}


def _short_temporary_folder() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST_PIPE_FOLDER - len("/mps12345678") else "/tmp"


def _start(environment: Mapping[str, str], log: Path) -> str:
    """Start the daemon and wait until it answers; returns why that failed, or an empty text."""
    with log.open("w") as output:  # a file, not a pipe: the daemon may keep it open for good
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
        said = log.read_text(errors="replace").strip().splitlines()
        return f"{CONTROL} did not start ({said[-1] if said else f'code {done.returncode}'})"
    deadline = time.monotonic() + ANSWERING_S
    while not _answers(environment):
        if time.monotonic() > deadline:
            return f"{CONTROL} started but does not answer"
        time.sleep(0.1)
    return ""


def _answers(environment: Mapping[str, str]) -> bool:
    return _tell("get_server_list", environment, limit_s=ANSWER_S)


def _tell(command: str, environment: Mapping[str, str], *, limit_s: float) -> bool:
    """Give the daemon one command; whether it took it."""
    try:
        done = subprocess.run(
            [CONTROL], env=environment, input=f"{command}\n", text=True, capture_output=True, timeout=limit_s
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _end(pipes: Path, folder: Path) -> None:
    """Ask the daemon of this pipe folder to quit; end its processes if it does not; remove the folder."""
    control = _control_process(pipes)
    target_spec = [] if control is None else [*_children(control), control]  # its servers first
    _tell(f"quit -t {CLIENTS_S}", _environment(str(pipes), folder), limit_s=QUIT_S)
    for how in (signal.SIGTERM, signal.SIGKILL):
        if _have_ended(target_spec):
            break
        for process in filter(_is_mps, target_spec):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, how)
    _have_ended(target_spec)
    shutil.rmtree(pipes, ignore_errors=True)


def _end_left_over(folder: Path) -> None:
    """End the daemon that a killed driver of this study left behind."""
    with suppress(InputError, KeyError, TypeError):
        pipes = Path(read_json(folder / RECORD)["pipes"])
        if pipes.name.startswith("mps"):  # a folder this module made
            _end(pipes, folder)


def _control_process(pipes: Path) -> int | None:
    """The pid in the daemon's own file; by now it may be another process's."""
    try:
        return int((pipes / _PID_FILE).read_text())
    except (OSError, ValueError):
        return None


def _is_mps(process: int) -> bool:
    """Whether this pid belongs to MPS; pids are given out again."""
    try:
        return b"nvidia-cuda-mps" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _have_ended(processes: list[int]) -> bool:
    """Wait a while until none of them is MPS's any more."""
    deadline = time.monotonic() + PATIENCE_S
    while any(_is_mps(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
