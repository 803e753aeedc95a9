"""Ray: started on this machine with nothing listening beyond it, or joined; gone when the study ends."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import psutil
import ray

from xlite.errors import EXIT_INPUT
from xlite.study.shares import Shares
from xlite.tune import reaper
from xlite.tune.reaper import is_alive

OBJECT_STORE_BYTES = 512 * 2**20
"""Workers get arrays of labels through it, never pixels."""
CORE = ("gcs_server", "raylet")
"""Ray's own processes, without which nothing works."""
WATCH_S = 1.0
"""How often these are looked at."""
Tell = Callable[[Iterable[psutil.Process]], None]
SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def ray_running(shares: Shares, address: str | None) -> Iterator[None]:
    """Ray within: a running one if there is one, else that at `address`, else one that is started and ended here.

    When a process of the one started here dies, this process ends too, with one line and exit code 2: Ray would let it
    wait for a minute and end it without a word to Python. What then is left of Ray, `reaper` ends.
    """
    if ray.is_initialized():
        yield
        return
    over = Event()
    with _undertaker() as tell:
        before = _below()
        try:
            start_ray(shares, address)
            Thread(target=_end_with_ray, args=(before, tell, over), daemon=True).start()
            yield
        finally:
            over.set()
            ray.shutdown()


def start_ray(shares: Shares, address: str | None) -> None:
    """Join a cluster, or start Ray here."""
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        ray.init(address=address, **quiet)
        return
    ray.init(
        num_cpus=shares.num_cpus,
        num_gpus=shares.num_gpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **quiet,
    )


@contextmanager
def _undertaker() -> Iterator[Tell]:
    """A process that hears of Ray's processes, and ends them after this block or this process has ended."""
    with subprocess.Popen(
        [sys.executable, "-I", reaper.__file__],
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


def _end_with_ray(before: set[psutil.Process], tell: Tell, over: Event) -> None:
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
            line = f"error: Ray's {dead[0]} has died (killed, or out of memory); run the same command again"
            print(line, file=sys.stderr, flush=True)
            os._exit(EXIT_INPUT)  # the main thread waits in Ray; all that matters is on the disk already
        over.wait(WATCH_S)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _below() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
