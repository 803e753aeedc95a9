"""Drives a study again and again, dying before its first write is committed, its second, and so on.

python cut_off.py URL EVERY: dies at every EVERY-th; prints how often, or the first study that did not recover.
"""

import os
import sys
import traceback

import sqlalchemy
from studies import content, drive, open_study

from xlite.ledger import Ledger, rdb

rdb._SYNCED = rdb._SPARED = "OFF"  # the machine does not die, only the process


def die_before_commit(ledger: Ledger, place: int) -> None:
    """End this process, as abruptly as SIGKILL would, before the `place`-th transaction that writes is committed."""
    wrote, num_writes = False, 0

    def note(connection, cursor, statement, *rest) -> None:
        nonlocal wrote
        wrote = wrote or not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))

    def maybe_die(connection) -> None:
        nonlocal wrote, num_writes
        num_writes, wrote = num_writes + wrote, False
        if 0 < num_writes == place:
            os._exit(9)

    sqlalchemy.event.listen(ledger._storage.engine, "before_cursor_execute", note)
    sqlalchemy.event.listen(ledger._storage.engine, "commit", maybe_die)


def run(url: str, name: str, place: int) -> int:
    """Drive in a process of its own; returns its exit status."""
    child = os.fork()
    if child == 0:
        try:
            with open_study(url, name) as ledger:
                die_before_commit(ledger, place)
                drive(ledger)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(url: str, every: int) -> None:
    with open_study(url, "whole") as ledger:
        drive(ledger)
    expected, num_deaths = content(url, "whole"), 0
    for place in range(1, 10_000, every):
        name = f"dead before write {place}"
        if run(url, name, place) == 0:
            break
        num_deaths += 1
        again = run(url, name, 0)
        if again != 0 or content(url, name) != expected:
            print(f"{name}, then not the same: {again} {content(url, name)} {expected}")
            return
    print(num_deaths)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
