"""A real Ray cluster of one machine, as `ray start --head` makes it, for tests that join one."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

START = "from ray.scripts.scripts import main; main()"


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def ray_head(token: str | None = None) -> Iterator[str]:
    """Gives its address. With a token it asks for that, as it does where ~/.ray has one. Its processes are killed."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="head", dir="/tmp") as folder:
        if token:
            (Path(folder) / ".ray").mkdir()
            (Path(folder) / ".ray" / "auth_token").write_text(token)
        words = ["--head", "--block", "--num-cpus=1", f"--port={port}", f"--temp-dir={folder}"]
        words += ["--include-dashboard=false", "--object-store-memory=80000000", "--disable-usage-stats"]
        process = subprocess.Popen(
            [sys.executable, "-c", START, "start", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HOME": folder},
        )
        try:
            assert process.stdout is not None
            assert any("Ray runtime started" in line for line in process.stdout)
            yield f"127.0.0.1:{port}"
        finally:
            processes = psutil.Process(process.pid).children(recursive=True)
            for each in (psutil.Process(process.pid), *processes):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.communicate()
            psutil.wait_procs(processes, timeout=10)
