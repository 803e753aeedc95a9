"""A Ray cluster at an address, tried before anything else, in a process of its own. Imports no Ray."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xlite.errors import InputError

CONNECT_S, JOIN_S = 5.0, 30.0
"""Time limits: for a connection, and for joining, which takes about 3 s. Ray itself would try for minutes."""
_JOIN = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""
_REFUSED = "InvalidAuthToken"
"""What Ray prints each second while a cluster refuses the token."""
_TOKEN_HELP = "put the cluster's into ~/.ray/auth_token, or name its file with RAY_AUTH_TOKEN_PATH"


def prepare_to_join(address: str) -> None:
    """Try to join the cluster at `address`, with the token that Ray's variables or ~/.ray hold, if there is one.

    Sets RAY_AUTH_MODE where it is not set and there is a token, for this process too: Ray reads it when imported.

    Raises:
        InputError: not an address of a cluster, nothing answers, the token is wrong, or Ray cannot join.
    """
    if address.startswith("ray://"):
        raise InputError(f"--address {address}: a search cannot run over Ray Client; give the head's own HOST:PORT")
    if address != "auto":
        _connect(address)
    if "RAY_AUTH_MODE" not in os.environ and _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"
    problem = _join(address)
    if problem:
        raise InputError(f"--address {address}: {problem}")


def _connect(address: str) -> None:
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", address)
    if match is None or not 0 < int(match[3]) < 2**16:
        raise InputError(f"--address {address}: write HOST:PORT of the cluster's head, e.g. 10.0.0.5:6379, or auto")
    try:
        socket.create_connection((match[1] or match[2], int(match[3])), timeout=CONNECT_S).close()
    except OSError as error:  # of a name, too
        reason = error.strerror or str(error)
        raise InputError(f"--address {address}: no connection ({reason}); is that cluster running?") from None


def _has_token() -> bool:
    """Whether there is a token where Ray looks for one."""
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or file.is_file()


def _join(address: str) -> str:
    """Why a process cannot join; "" if it can."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _JOIN, address], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            until = time.monotonic() + JOIN_S
            while (code := process.poll()) is None and time.monotonic() < until:
                said.seek(0)
                if _REFUSED in said.read().decode(errors="replace"):
                    break
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
    if code == 0:
        return ""
    if any(_REFUSED in line or "no authentication token was found" in line for line in lines):
        return f"the cluster refuses {'the' if _has_token() else 'to be joined without a'} token; {_TOKEN_HELP}"
    if code is None:
        return f"no Ray cluster answered within {JOIN_S:.0f} s"
    return next((line for line in reversed(lines) if line), f"Ray ended with code {code}")
