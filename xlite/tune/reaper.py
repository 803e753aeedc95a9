"""A process of its own that outlives the driver: it ends what is left of Ray, however the driver ended.

It is run as a file, `python -I reaper.py FOLDER`, and imports nothing of the project. On its input come lines of
process number and time of creation; the input ends with the driver. At last it removes the folder, Ray's session.
"""

import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

LEAVE_S = 5.0
"""How long Ray's processes may take to end by themselves; where their raylet was killed, its agents would take 60 s."""


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs under this number; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def find(lines: Iterable[str]) -> list[psutil.Process]:
    """Those of the processes that the lines name that still run."""
    found = []
    for line in lines:
        pid, created = line.split()
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.create_time() == float(created):  # numbers are used again
                found.append(process)
    return found


def main() -> None:
    """Wait for the driver's end, then see to Ray's, and remove its session."""
    processes = find(list(sys.stdin))
    until = time.monotonic() + LEAVE_S
    while (left := [process for process in processes if is_alive(process)]) and time.monotonic() < until:
        time.sleep(0.1)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
