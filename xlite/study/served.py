"""One server of `xlite watch`, in a process that ends with the one that started it, however that ends.

It is run as a file and imports nothing of the project. The first line of its input holds the words of a console script
as JSON, so that a password among them is in no list of processes. Then its input stays open as long as it is wanted.
"""

import json
import os
import signal
import sys
import time
from importlib.metadata import entry_points
from threading import Thread

LEAVE_S = 3.0
"""How long the server may take to end by itself."""


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_S)
    os._exit(1)


def main() -> None:
    """Run the console script."""
    sys.argv = json.loads(sys.stdin.readline())
    Thread(target=_end_with_input, daemon=True).start()
    (script,) = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(script.load()())


if __name__ == "__main__":
    main()
