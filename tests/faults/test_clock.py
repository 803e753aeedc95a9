"""A clock that is set forwards or back decides nothing: limits count by a clock that nobody sets."""

import ast
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import xlite
from xlite.storage import files
from xlite.study.time_budget import TimeBudget

STAMPS = {"hparams.py", "reads.py", "write.py"}
"""Events, readings of test and reports have the time of day."""
WALL_CLOCK = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def test_nothing_asks_for_the_time_of_day():
    asked = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(xlite.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in WALL_CLOCK
        and path.name not in STAMPS
    ]
    assert not asked


def test_a_time_budget_is_not_spent_by_a_jump_of_the_clock(monkeypatch):
    budget, spent = TimeBudget(3600, 60), TimeBudget(0.0, 0.0)
    for jump_s in (-1e9, 1e9):
        now = time.time()
        monkeypatch.setattr(time, "time", lambda now=now, jump_s=jump_s: now + jump_s)
        assert budget.may_start() and budget.left_s() > 3600
        assert not spent.may_start() and spent.left_s() <= 0


def test_waiting_for_disk_space_does_not_end_with_a_jump_of_the_clock(tmp_path, monkeypatch):
    free, now_s = iter([0, 1]), count(0, 10**12)
    monkeypatch.setattr(files, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=next(free))))
    monkeypatch.setattr(time, "time", lambda: next(now_s))
    assert len(list(files.waits_for_disk_space(tmp_path, 1, timeout_s=0.1))) == 1
