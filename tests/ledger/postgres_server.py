"""A PostgreSQL server of a test's own: another folder, another port, no root, ended with the test."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

PASSWORD = "pass/w@rd:1%"
START_S = 60


class Server:
    """Listens on a loopback port; data is written without fsync, which a killed server does not need."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.process: subprocess.Popen | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.account = {}
        if os.geteuid() == 0:  # the server refuses root
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            self.account = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        subprocess.run(
            [
                *(programs / "initdb", "-D", folder / "data", "-U", "me", "-A", "scram-sha-256", "-E", "UTF8"),
                *("--pwfile", folder / "password", "--no-sync", "--locale=C"),
            ],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self.account,
        )  # fmt: skip

    def url(self, database: str = "postgres", **other: object) -> str:
        """With the password in it."""
        parts = {"username": "me", "password": PASSWORD, "host": "127.0.0.1", "port": self.port, "database": database}
        return sqlalchemy.URL.create("postgresql+psycopg", **{**parts, **other}).render_as_string(hide_password=False)

    def new_database(self, name: str) -> str:
        """The URL of an empty database."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def connect(self) -> psycopg.Connection:
        """As the administrator."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="me", password=PASSWORD, dbname="postgres", autocommit=True
        )

    def start(self) -> None:
        """Returns once it answers; after a kill it may have to wait for what the last one left."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder, "-F"]
                command += ["-p", str(self.port), "-h", "127.0.0.1"]
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.account)
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it: SIGKILL as a crash would, SIGQUIT at once with its children, SIGINT as an administrator would."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(START_S)


@contextmanager
def postgres() -> Iterator[Server]:
    """A server that runs; the test is skipped where PostgreSQL is not installed."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    programs = next((at for at in folders if (at / "initdb").exists() and (at / "postgres").exists()), None)
    if programs is None:
        pytest.skip("PostgreSQL is not installed here (initdb, postgres): apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="xlite-postgres-"))
    try:
        server = Server(programs, folder)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
