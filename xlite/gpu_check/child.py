"""The process of one step: runs it and prints each number, and how it ended, as lines of JSON.

    python -m xlite.gpu_check.child MODULE:FUNCTION DEVICE FOLDER

It ends with whoever started it: when its standard input closes, so does all of its process group.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from xlite.gpu_check.place import PassedOver, Place

_TO_END_S = 15.0


def main() -> None:
    """Run the step that the arguments name."""
    name, device, folder = sys.argv[1:]
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the lines
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # contexts are left, so a daemon is ended
    threading.Thread(target=_end_with_parent, daemon=True).start()
    missed: list[str] = []

    def tell(row: Mapping[str, Any]) -> None:
        if row.get("must") and not row["reached"]:
            missed.append(f"{row['what']}: {shown(row['value'])} ({row['goal']})")
        print(json.dumps(row), file=lines, flush=True)

    try:
        module, _, function = name.partition(":")
        summary = getattr(import_module(module), function)(Place(device, Path(folder), tell))  # type: ignore[arg-type]
        end = {"ended": "failed" if missed else "ok", "summary": "; ".join(missed) or summary or ""}
    except PassedOver as reason:
        end = {"ended": "passed over", "summary": str(reason)}
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().splitlines()
        end = {"ended": "failed", "summary": f"{type(error).__name__}: {text[0] if text else ''}"}
    print(json.dumps(end), file=lines, flush=True)


def shown(value: Any) -> str:
    """A value in a line of text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(0, number)
        time.sleep(_TO_END_S)


if __name__ == "__main__":
    main()
