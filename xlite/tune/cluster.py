"""Ray: started on this machine with nothing listening beyond it, or joined; gone when the study ends."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import ray

from xlite.tune.resources import Shares

OBJECT_STORE_BYTES = 512 * 2**20
"""Workers get arrays of labels through it, never pixels."""
LEAVE_S = 5.0
"""How long Ray's processes may take to end. Its agents would outlive a killed control store by a minute."""


@contextmanager
def ray_running(shares: Shares, address: str | None) -> Iterator[None]:
    """Ray within: a running one if there is one, else that at `address`, else one that is started and ended here."""
    if ray.is_initialized():
        yield
        return
    before, started = _below(), set[psutil.Process]()
    try:
        start_ray(shares, address)
        started = _below()  # of a raylet that has died, nothing below it would be found in the end
        yield
    finally:
        started |= _below()
        ray.shutdown()
        _, left = psutil.wait_procs(started - before, timeout=LEAVE_S)
        for process in left:
            process.kill()


def _below() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


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
