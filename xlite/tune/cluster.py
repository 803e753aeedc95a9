"""Ray: started on this machine with nothing listening beyond it, or joined; gone when the study ends."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import psutil
import ray

from xlite.cli import EXIT_INPUT
from xlite.tune.resources import Shares

OBJECT_STORE_BYTES = 512 * 2**20
"""Workers get arrays of labels through it, never pixels."""
CORE = ("gcs_server", "raylet")
"""Ray's own processes, without which nothing goes on."""
WATCH_S, LEAVE_S = 1.0, 5.0
"""How often these are looked at, and how long Ray's processes may take to end."""

SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def ray_running(shares: Shares, address: str | None) -> Iterator[None]:
    """Ray within: a running one if there is one, else that at `address`, else one that is started and ended here.

    When a process of the one started here dies, this process ends too, with one line and exit code 2: Ray would let it
    wait for a minute, end it without a word to Python, and leave agents behind for a minute more.
    """
    if ray.is_initialized():
        yield
        return
    before, started, over = _below(), set[psutil.Process](), Event()
    try:
        start_ray(shares, address)
        started = _below() - before  # of a raylet that has died, nothing below it would be found in the end
        Thread(target=_end_with_ray, args=(started, before, over), daemon=True).start()
        yield
    finally:
        over.set()
        started |= _below() - before
        ray.shutdown()
        _, left = psutil.wait_procs(started, timeout=LEAVE_S)
        _kill(left)


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


def _end_with_ray(started: set[psutil.Process], before: set[psutil.Process], over: Event) -> None:
    core = {process: process.name() for process in started if _is_alive(process) and process.name() in CORE}
    while not over.wait(WATCH_S):
        dead = [name for process, name in core.items() if not _is_alive(process)]
        if dead and not over.is_set():
            _kill((started | _below()) - before)
            if sys.stderr.isatty():
                print(SHOW_CURSOR, file=sys.stderr)  # the live table hid it
            print(
                f"error: Ray's {dead[0]} has died (killed, or out of memory); run the same command again",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_INPUT)  # the main thread waits in Ray; all that matters is on the disk already


def _below() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
