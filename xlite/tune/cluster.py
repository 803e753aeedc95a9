"""Ray: started on this machine with nothing listening beyond it, or joined; gone when the study ends."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import ray
from ray._private import ray_constants

from xlite.errors import EXIT_INPUT
from xlite.study.shares import Shares
from xlite.tune import reaper
from xlite.tune.reaper import is_alive
from xlite.tune.session import RAY, TOKEN, session_folder

OBJECT_STORE_BYTES = 512 * 2**20
"""Workers get arrays of labels through it, never pixels."""
CORE = ("gcs_server", "raylet")
"""Ray's own processes, without which nothing works."""
WATCH_S = 1.0
"""How often these are looked at."""
LOGS = "ray_logs"
"""Folder in the study's for what Ray wrote when a process of it, or a trial's, crashed."""
Tell = Callable[[Iterable[psutil.Process]], None]
SHOW_CURSOR = "\x1b[?25h"
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_CHANGED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def ray_running(shares: Shares, address: str | None, study: Path) -> Iterator[None]:
    """Ray within: a running one if there is one, else that at `address`, else one that is started and ended here.

    When a process of the one started here dies, this process ends too, with one line and exit code 2: Ray would let it
    wait for a minute and end it without a word to Python. What then is left of Ray, `reaper` ends.

    Args:
        study: the study's folder, which gets Ray's logs after a crash.
    """
    if ray.is_initialized():
        yield
        return
    with _process_restored():
        if address:
            ray.init(address=address, **_QUIET)
            try:
                yield
            finally:
                ray.shutdown()
        else:
            with session_folder() as session, _own_ray(shares, session, study):
                yield


@contextmanager
def _process_restored() -> Iterator[None]:
    """Signal handlers and environment of this process are again afterwards what they were: Ray and Tune change both.

    Tune's handler, which stays after the search, would swallow the next Ctrl-C.
    """
    environment = dict(os.environ)
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere nobody can change them
    handlers = {number: signal.getsignal(number) for number in _CHANGED_SIGNALS} if in_main else {}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # None: not Python's
                signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def _own_ray(shares: Shares, session: Path, study: Path) -> Iterator[None]:
    over = Event()
    with _undertaker(session) as tell:
        before = _below()
        try:
            _start(shares, session)
            Thread(target=_end_with_ray, args=(before, tell, over, session, study), daemon=True).start()
            yield
        finally:
            over.set()
            ray.shutdown()
            _keep_logs(session, study, only_crashed=True)


def _start(shares: Shares, session: Path) -> None:
    """Start Ray here. Without a session of its own it would write into the home and the temporary folder, for ever."""
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(session / TOKEN)
    has_clusters = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # else this machine's address replaces 127.0.0.1, even where that is given
    try:
        ray.init(
            address="local",  # not RAY_ADDRESS, nor a cluster that happens to run here
            num_cpus=shares.num_cpus,
            num_gpus=shares.num_gpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(session / RAY),
            _system_config={"worker_niceness": 0},  # added to this process's own; Ray's default is 15
            **_QUIET,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = has_clusters


@contextmanager
def _undertaker(session: Path) -> Iterator[Tell]:
    """A process that hears of Ray's processes, and ends them after this block or this process has ended.

    It removes the session folder too.
    """
    with subprocess.Popen(
        [sys.executable, "-I", reaper.__file__, str(session)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    ) as process:
        pipe = process.stdin
        assert pipe is not None

        def tell(rays: Iterable[psutil.Process]) -> None:
            for each in rays:
                with suppress(psutil.NoSuchProcess, BrokenPipeError):  # it has ended; somebody killed the listener
                    pipe.write(f"{each.pid} {each.create_time()!r}\n".encode())

        yield tell


def _end_with_ray(before: set[psutil.Process], tell: Tell, over: Event, session: Path, study: Path) -> None:
    known = before
    core: dict[psutil.Process, str] = {}
    while not over.is_set():
        new = {process: _name(process) for process in _below() - known}
        known |= set(new)
        core |= {process: name for process, name in new.items() if name in CORE}
        tell(new)
        dead = [name for process, name in core.items() if not is_alive(process)]
        if dead and not over.is_set():
            if sys.stderr.isatty():
                print(SHOW_CURSOR, file=sys.stderr)  # the live table hid it
            _keep_logs(session, study, only_crashed=False)
            line = f"error: Ray's {dead[0]} has died (killed, or out of memory); run the same command again"
            print(line, file=sys.stderr, flush=True)
            os._exit(EXIT_INPUT)  # the main thread waits in Ray; all that matters is on the disk already
        over.wait(WATCH_S)


def _keep_logs(session: Path, study: Path, *, only_crashed: bool) -> None:
    """Copy what Ray's processes printed, or only what those did that Python saw crash, e.g. by a segmentation fault."""
    with suppress(OSError):
        for file in session.glob(f"{RAY}/session_latest/logs/*.*"):
            if file.stat().st_size and (not only_crashed or b"Fatal Python error" in file.read_bytes()):
                (study / LOGS).mkdir(exist_ok=True)
                shutil.copy(file, study / LOGS)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _below() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
