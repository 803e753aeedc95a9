"""Drives a study repeatedly, dying before its first write is committed, its second, and so on.

Run in tests/: python -m ledger.cut_off URL EVERY
Dies at every EVERY-th write; prints how often, or the first study that did not recover.
"""

import os
import sys
import traceback

import sqlalchemy
from studies import content, drive, open_study

from xlite.ledger import Ledger, rdb

rdb._SYNCED = rdb._UNSYNCED = "OFF"  # only the process dies, not the machine


def die_before_commit(ledger: Ledger, write: int) -> None:
    """End this process, as abruptly as SIGKILL would, before the `write`-th writing transaction is committed."""
    wrote, num_writes = False, 0

    def note(connection, cursor, statement, *rest) -> None:
        nonlocal wrote
        wrote = wrote or not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))

    def maybe_die(connection) -> None:
        nonlocal wrote, num_writes
        num_writes, wrote = num_writes + wrote, False
        if 0 < num_writes == write:
            os._exit(9)

    sqlalchemy.event.listen(ledger._storage.engine, "before_cursor_execute", note)
    sqlalchemy.event.listen(ledger._storage.engine, "commit", maybe_die)


def run(url: str, name: str, write: int) -> int:
    """Drive in a process of its own; returns its exit status."""
    child = os.fork()
    if child == 0:
        try:
            with open_study(url, name) as ledger:
                die_before_commit(ledger, write)
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
    for write in range(1, 10_000, every):
        name = f"dead before write {write}"
        if run(url, name, write) == 0:
            break
        num_deaths += 1
        again = run(url, name, 0)
        if again != 0 or content(url, name) != expected:
            print(f"{name}, then different: {again} {content(url, name)} {expected}")
            return
    print(num_deaths)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
