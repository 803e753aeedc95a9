"""TensorBoard and Optuna's dashboard of a study, on this machine's loopback, started and ended together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import entry_points
from pathlib import Path
from threading import Thread
from typing import IO

from xlite.errors import InputError
from xlite.study import served

LOOPBACK = "127.0.0.1"
START_S = 120.0
"""Time limit for a server's first answer."""
LEAVE_S = 5.0
"""How long a server may take to end."""
NUM_LAST_LINES = 5
_POLL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerEnded(Exception):
    """A server ended though it was wanted, or never answered; the message says which, and its last lines."""


@dataclass(frozen=True)
class Server:
    """A web server to start.

    Attributes:
        name: what a person calls it; script: the console script that starts it, and words its arguments.
        port: of the loopback, on which they make it listen.
        page: path of the page to open.
        secrets: texts to leave out of what it printed.
    """

    name: str
    script: str
    words: tuple[str, ...]
    port: int
    page: str = "/"
    secrets: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Of the page to open."""
        return f"http://{LOOPBACK}:{self.port}{self.page}"


def tensorboard(folder: Path, port: int) -> Server:
    """TensorBoard of all that a study's folder holds."""
    where = ("--host", LOOPBACK, "--port", str(port))
    return Server("TensorBoard", "tensorboard", ("--logdir", str(folder), *where, "--window_title", folder.name), port)


def dashboard(storage: str, study_id: int, port: int, *, secrets: tuple[str, ...]) -> Server:
    """Optuna's dashboard of the database at a URL, opened at one of its studies."""
    template = storage.replace("{", "{{").replace("}", "}}")  # Optuna formats its URL
    words = (template, "--host", LOOPBACK, "--port", str(port), "--server", "wsgiref", "--quiet")
    return Server(
        "optuna-dashboard",
        "optuna-dashboard",
        words,
        port,
        f"/dashboard/studies/{study_id}",
        (template, storage, *secrets),
    )


def check_installed(names: Sequence[str]) -> None:
    """Raise InputError for the first of these packages that is not installed."""
    for name in names:
        if not entry_points(group="console_scripts", name=name):
            raise InputError(f"{name} is not installed; install it with: pip install {name}")


def choose_ports(wanted: Mapping[str, int | None], usual: Mapping[str, int]) -> dict[str, int]:
    """A port of the loopback for each option: the one that was asked for, else the usual one, else any that is free.

    Raises:
        InputError: one that was asked for cannot be had; the line names the option.
    """
    out: dict[str, int] = {}
    with ExitStack() as held:  # all at once, so that no two are the same
        for option, port in sorted(wanted.items(), key=lambda item: item[1] is None):
            try:
                out[option] = _held(held, usual[option] if port is None else port)
            except OSError as error:
                if port is not None:
                    reason = (error.strerror or str(error)).lower()
                    raise InputError(
                        f"{option} {port}: {reason}; name another, or leave it out for a free one"
                    ) from None
                out[option] = _held(held, 0)
    return out


def watch(servers: Sequence[Server], tell: Callable[[str], None]) -> None:
    """Run servers until Ctrl-C, SIGTERM or a closed terminal; `tell` hears each one's address once it answers.

    Raises:
        ServerEnded: one of them ended by itself. The others are ended, too.
    """
    with _signals_interrupt(), ExitStack() as ending:
        try:
            running = [ending.enter_context(_run(server)) for server in servers]
            for each in running:
                _await_answer(each, running)
                tell(f"{each.server.name}: {each.server.address}")
            tell("Open them in a browser on this machine; they follow the study as it grows. Ctrl-C ends both")
            while True:
                _check(running)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return


@dataclass(frozen=True)
class _Running:
    """A server's process, the last lines that it printed, and the thread that reads them."""

    server: Server
    process: subprocess.Popen[bytes]
    lines: deque[str]
    reader: Thread

    def last_lines(self) -> str:
        self.reader.join(LEAVE_S)
        text = "\n".join(f"  {line}" for line in self.lines)
        for secret in sorted(self.server.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


@contextmanager
def _run(server: Server) -> Iterator[_Running]:
    """A server in a session of its own, where a terminal's signals do not reach it; it is ended on leaving."""
    with subprocess.Popen(
        [sys.executable, "-P", served.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        lines: deque[str] = deque(maxlen=NUM_LAST_LINES)
        reader = Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            process.stdin.write(json.dumps([server.script, *server.words]).encode() + b"\n")
            process.stdin.flush()
            yield _Running(server, process, lines, reader)
        finally:
            process.stdin.close()
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _read(output: IO[bytes], lines: deque[str]) -> None:
    for line in output:
        lines.append(line.decode(errors="replace").rstrip())


def _await_answer(one: _Running, running: Sequence[_Running]) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(one.server.address):
        _check(running)
        if time.monotonic() > deadline:
            raise ServerEnded(f"{one.server.name} did not answer within {START_S:g} s\n{one.last_lines()}")
        time.sleep(_POLL_S)


def _answers(address: str) -> bool:
    try:
        with _OPENER.open(address, timeout=START_S):
            return True
    except (OSError, HTTPException):
        return False


def _check(running: Sequence[_Running]) -> None:
    for each in running:
        if (code := each.process.poll()) is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise ServerEnded(f"{each.server.name} has ended ({how}); its last lines:\n{each.last_lines()}")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal are Ctrl-C within; what is ignored already, e.g. under nohup, stays so."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _held(held: ExitStack, port: int) -> int:
    """The port, or for 0 a free one, taken until `held` is left."""
    one = held.enter_context(socket.socket())
    # as the servers do: else a port whose last connection has just ended would count as taken
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((LOOPBACK, port))
    one.listen()
    return int(one.getsockname()[1])
