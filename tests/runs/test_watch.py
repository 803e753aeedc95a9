"""`xlite watch`: both pages of a study open in a real browser, and no way to end it leaves a process."""

import os
import pty
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import Browser, chromium
from tensorboard_server import STATUSES, ask
from watched_study import LIMIT_S, gone, make_study, watched

from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord, sqlite_url
from xlite.study.watch import choose_ports

OWN_WARNINGS = r"Three\.js|is deprecated|has been deprecated|GPU stall"
"""What the console says of TensorBoard's own code, and of a machine without a GPU."""
DEEP = """
const found = [];
const walk = root => root.querySelectorAll('*').forEach(each => {
  if (each.matches(arguments[0])) found.push(each);
  if (each.shadowRoot) walk(each.shadowRoot);
});
walk(document);
"""
TEXTS = DEEP + "return found.map(each => (each.innerText || '').trim())"
CLICK = DEEP + "found.filter(each => (each.innerText || '').trim() == arguments[1]).forEach(each => each.click())"
SIZES = DEEP + "return found.map(each => each.naturalWidth || each.width || 0)"


def until(browser: Browser, script: str, holds: Callable[[Any], bool], *arguments: str) -> Any:
    """What a script returns once it is as wanted."""
    deadline = time.monotonic() + LIMIT_S
    while not holds(answer := browser.run(script, *arguments)):
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)
    return answer


def errors(browser: Browser) -> list[str]:
    return [line for line in browser.console() if not re.search(OWN_WARNINGS, line)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRecord]]:
    results = tmp_path_factory.mktemp("watched") / "results"
    return results, make_study(results)


def test_both_pages_show_the_study_in_a_browser_and_ctrl_c_ends_them(study, tmp_path) -> None:
    results, rows = study
    every = {"state", *(key for row in rows for key in row.overrides)}
    assert {"loss.focal_gamma", "model.attention"} <= every  # which no draw had, and some trials have
    with chromium(tmp_path) as browser, watched(results) as here:
        board, dashboard = here.addresses["TensorBoard"], here.addresses["optuna-dashboard"]
        browser.open(f"{board}#timeseries")
        runs = until(browser, TEXTS, lambda shown: len(shown) > len(rows), "tb-data-table-content-row")
        named = {
            name for name in runs if name.startswith("runs/") and "\n" not in name
        }  # a card's table has more cells
        assert named == {f"runs/{path.name}" for path in (results / "s" / "runs").glob("0*")}
        until(browser, SIZES, lambda widths: any(width > 100 for width in widths), "canvas")
        assert errors(browser) == []
        browser.open("about:blank")
        browser.open(f"{board}#images")
        until(browser, SIZES, lambda widths: widths == [120], "img")
        assert errors(browser) == []
        browser.open("about:blank")
        browser.open(f"{board}#hparams")
        names = until(browser, TEXTS, lambda shown: every <= set(shown), "paper-checkbox")
        for name in every - set(browser.run(TEXTS, "vaadin-grid-cell-content")):
            browser.run(CLICK, "paper-checkbox", name)  # the page itself shows the first five
        cells = until(browser, TEXTS, lambda shown: every <= set(shown), "vaadin-grid-cell-content")
        assert {"mhsa", "none", "runs/00001"} <= set(cells) and "test/auc_macro" in names
        browser.screenshot(tmp_path / "hparams.png")
        assert errors(browser) == []
        browser.open(dashboard)
        until(browser, TEXTS, lambda shown: any("s (id=1)" in text and "History" in text for text in shown), "body")
        assert errors(browser) == []
        values = shown_parameters(board)
        assert values == {f"{row.number:05d}": {**row.overrides, "state": row.state} for row in rows}  # absent is blank
        below = here.below()
        assert len(below) >= 2
        here.process.send_signal(signal.SIGINT)
        assert here.process.wait(LIMIT_S) == 0 and gone(below)
    with Ledger.open(sqlite_url(results / "s" / "study.db"), "s", create=False) as ledger:
        assert ledger.rows() == rows


def shown_parameters(board: str) -> dict[str, dict[str, Any]]:
    """The hyper-parameters of each trial, by its number, as the HParams tab's table has them."""
    request = {"startIndex": 0, "sliceSize": 1000, "allowedStatuses": STATUSES}
    groups = ask(f"{board}data/plugin/hparams/session_groups", request)["sessionGroups"]
    return {group["name"].removeprefix("runs/")[:5]: group["hparams"] for group in groups}


def test_a_killed_watch_leaves_no_process_and_locked_nothing(study) -> None:
    with watched(study[0]) as here:
        below = here.below()
        with Ledger.open(sqlite_url(study[0] / "s" / "study.db"), "s", create=False) as ledger:
            ledger.unfinished()  # takes the lock of a search
        here.process.kill()
        assert len(below) >= 2 and gone(below)


@pytest.mark.slow
def test_sigterm_ends_both(study) -> None:
    with watched(study[0]) as here:
        below = here.below()
        here.process.terminate()
        assert here.process.wait(LIMIT_S) == 0 and gone(below)


@pytest.mark.slow
def test_a_closed_terminal_ends_both(study) -> None:
    pid, screen = pty.fork()
    if pid == 0:
        words = [sys.executable, "-m", "xlite", "watch", "--study", "s", "--results", str(study[0])]
        os.execv(sys.executable, words)
    with open(screen, closefd=False) as output:
        while "Ctrl-C" not in output.readline():
            pass
    below = psutil.Process(pid).children(recursive=True)
    os.close(screen)
    os.waitpid(pid, 0)
    assert len(below) >= 2 and gone(below)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [(0, "TensorBoard"), (1, "optuna-dashboard")])
def test_where_one_of_them_dies_the_other_ends_and_it_is_said_which(study, number: int, name: str) -> None:
    with watched(study[0]) as here:
        below = here.below()
        sorted(psutil.Process(here.process.pid).children(), key=lambda process: process.pid)[number].kill()
        assert here.process.wait(LIMIT_S) == 1 and gone(below)
        assert f"error: {name} has ended (signal 9); its last lines:\n  " in here.process.stdout.read()


def test_a_port_is_the_one_asked_for_or_the_usual_one_or_free() -> None:
    with socket.socket() as taken, socket.socket() as free:
        for one in (taken, free):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        busy, unused = (one.getsockname()[1] for one in (taken, free))
        free.close()
        assert (
            choose_ports({"--port": unused, "--dashboard-port": None}, {"--dashboard-port": busy})["--port"] == unused
        )
        chosen = choose_ports({"--port": None, "--dashboard-port": None}, {"--port": busy, "--dashboard-port": unused})
        assert chosen["--port"] not in (busy, unused) and chosen["--dashboard-port"] == unused
        both = choose_ports({"--port": None, "--dashboard-port": unused}, {"--port": unused})
        assert both["--dashboard-port"] == unused != both["--port"]
        with pytest.raises(InputError, match=f"^--port {busy}: address already in use; name another"):
            choose_ports({"--port": busy}, {})
        with pytest.raises(InputError, match=f"^--dashboard-port {unused}: "):
            choose_ports({"--port": unused, "--dashboard-port": unused}, {})
