"""A search on the screen: in a pipe, and in a real terminal (tmux) at four widths."""

import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as RichConsole

from xlite.console import Console
from xlite.ledger import TrialRecord
from xlite.models.limits import Cost
from xlite.report.leaderboard import leaderboard_frame, render
from xlite.study.view import Pace, SearchView
from xlite.train.summary import RunSummary

WIDTHS = (60, 80, 100, 140)
REASON = "the loss is nan at epoch 2, step 17 (learning rate 0.00312345)"
METRIC = "balanced_accuracy"


def overrides(number: int) -> dict[str, Any]:
    return {
        **{"model.backbone": "mobilenetv3_small_050", "model.attention": "performer", "loss.name": "weighted_bce"},
        **{"distill.alpha": 0.65, "distill.temperature": 13.5 + number, "optim.learning_rate": 0.00123},
    }


def trial(number: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        phase="search",
        state="complete",
        value=0.75123 + number / 100,
        overrides=overrides(number),
        cost=Cost(1_000_000, 12.345, 23.456),
        summary=RunSummary(epochs=10),
    )


def draw(console: Console) -> None:
    """A search of which one trial ended, one failed and two run; then its leaderboard."""
    view = SearchView(console, Pace(10, 0, 10, 5.0), metric=METRIC, write_leaderboard=lambda: None)
    with view:
        for number in range(4):
            view.started(number, overrides(number))
            view.progressed(number, 2, 0.71234 + number / 100)
        view.held_up(2, "the disk of /results is full")
        view.ended(0, "complete", 0.71234, "")
        view.ended(1, "failed", None, REASON)
        view.progressed(2, 3, 0.74321)
    console.show(render(leaderboard_frame([trial(number) for number in range(100, 106)], study="s", metric=METRIC)))


def test_in_a_pipe_ends_are_lines_and_there_is_no_live_table() -> None:
    out = io.StringIO()
    draw(Console(RichConsole(file=out, soft_wrap=True)))
    lines = out.getvalue().splitlines()
    assert lines[0] == "Trial 2: the disk of /results is full; it continues when that is fixed"
    assert lines[1].startswith("[1/10] trial   0 complete 0.7123 after  2 epochs  mobilenetv3_small_050 performer")
    assert lines[1].endswith("left") and "best 0.7123 (trial 0)" in lines[1]
    assert lines[2].startswith("[2/10] trial   1 failed") and f"({REASON})" in lines[2]
    assert "configuration" not in out.getvalue()


@pytest.fixture
def tmux(tmp_path: Path):
    """Run `draw` on tmux: width -> what its screen shows."""
    program = shutil.which("tmux")
    if program is None:
        pytest.skip("tmux is not installed")
    run = [program, "-S", str(tmp_path / "s"), "-f", "/dev/null"]

    def call(*words: object) -> str:
        return subprocess.run([*run, *map(str, words)], capture_output=True, text=True, check=True).stdout

    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_view; test_view.on_request()"
    call("new-session", "-d", "-x", 100, "-y", 60, "env", "-u", "COLUMNS", sys.executable, "-c", code)
    call("set-option", "-w", "window-size", "manual")

    def screen(width: int) -> str:
        call("resize-window", "-x", width, "-y", 60)
        call("send-keys", width, "Enter")
        return wait_for(lambda: call("capture-pane", "-p"), f"at {width} done")

    try:
        wait_for(lambda: call("capture-pane", "-p"), "ready")
        yield screen
    finally:
        subprocess.run([*run, "kill-server"], check=False)


def wait_for(read: Callable[[], str], word: str) -> str:
    deadline = time.monotonic() + 60
    while word not in (text := read()):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


def on_request() -> None:
    """In the terminal: draw whenever a line with its width comes in."""
    print("ready", flush=True)
    for line in sys.stdin:
        width = int(line)
        while shutil.get_terminal_size().columns != width:
            time.sleep(0.02)
        print("\x1b[2J\x1b[H", end="", flush=True)
        draw(Console())
        print(f"at {width} done", flush=True)


def test_on_a_terminal_nothing_that_matters_is_cut(tmux: Callable[[int], str]) -> None:
    for width in WIDTHS:
        text = tmux(width)
        lines, words = text.splitlines(), re.split(r"[\s│┃(),;]+", text)
        assert "..." not in text and "…" not in text
        head = next(line for line in lines if "configuration" in line)
        assert head.split() == ["trial", "epoch", "best", METRIC, "configuration"]
        above = " ".join(text.split("configuration")[0].split())
        assert "[1/10] trial 0 complete 0.7123 after 2 epochs mobilenetv3_small_050" in above
        assert f"[2/10] trial 1 failed after 2 epochs mobilenetv3_small_050 performer weighted_bce KD T=14.5 alpha=0.65 ({REASON})" in above  # fmt: skip  # noqa: E501
        assert "Trial 2: the disk of /results is full; it continues when that is fixed" in above
        assert {"3/10", "0.7432", "2/10", "0.7423", "T=15.5", "T=16.5", "alpha=0.65"} <= set(words)
        board = text.split("configuration")[1]
        assert {"rank", "trial", "val", *map(str, range(100, 106))} <= set(re.split(r"[\s│┃]+", board))
        assert all(f"{1.75123 + number / 100:.4f}" in board for number in range(6))
        assert all(board.count(number) == 6 for number in ("23.46", "12.35"))  # ms and MB, also at 60
        assert ("No room for: " in board) == (width < 140)
        if width == 80:
            assert "rank trial status backbone T alpha val ms MB" in " ".join(board.split())
            assert "No room for: lr, attention, loss, epochs. All columns are in leaderboard.csv" in board
