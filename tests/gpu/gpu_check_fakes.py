"""Steps to try the check's machinery with; none imports PyTorch."""

import os
import signal
import subprocess
import time
from pathlib import Path

from xlite.gpu_check.place import PassedOver, Place


def fine(place: Place) -> str:
    place.must("two", 2, at_most=2)
    place.number("word", "as said")
    return "all well"


def slow(place: Place) -> str:
    place.number("images/s", 10.0, at_least=20)
    place.number("not a number", float("nan"), at_least=20)
    return "slow"


def wrong(place: Place) -> str:
    place.must("difference", 0.5, at_most=0.1)
    place.must("equal", False)
    place.must("another", 0.01, at_most=0.1)
    return "not said"


def raises(place: Place) -> str:
    print("printed by a library")
    raise ValueError("first line\nsecond line")


def dies(place: Place) -> str:
    place.number("before it died", 1)
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def over(place: Place) -> str:
    raise PassedOver("no such thing here")


def hangs(place: Place) -> str:
    """Does not end on SIGTERM, as a process in a driver's call, and has started another."""
    other = subprocess.Popen(["sleep", "60"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["FAKES_PIDS"]).write_text(f"{os.getpid()} {other.pid}")
    place.number("before it hung", 1)
    time.sleep(60)
    return ""


def card(place: Place) -> str:
    place.number("card", "Fake Card 9000")
    place.number("date", time.time())
    place.number("driver", os.environ.get("FAKES_DRIVER", "1"))
    return "a fake card"
