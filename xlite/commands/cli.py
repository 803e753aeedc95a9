"""What every command shares: options with clear errors, one-line failures, exit codes. Imports nothing slow."""

import argparse
import errno
import os
import re
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from xlite.errors import EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED, InputError, TrainingFailed
from xlite.storage.text import checked_name, single_line

_EXIT_PIPE = 141  # what a shell reports for SIGPIPE
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_LARGEST = 2**31 - 1  # of whole numbers: far more than any count of epochs, trials or batches
_SURROUNDINGS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ESTALE),
)
"""Errors that a file's place causes, not our code; a file that should be there and is not (ENOENT) is our bug."""

Main = Callable[[argparse.Namespace], int | None]


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where it says something: not None, False or nothing at all, and not twice."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, [], ()) or "default:" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_failed(f"{message}; --help lists the options"))


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows defaults, whose errors are one line, and which takes no abbreviated options."""
    return _Parser(description=description, formatter_class=_Formatter, allow_abbrev=False)


def run(main: Main, parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> NoReturn:
    """Parse, call `main`, and leave with its exit code (None: 0).

    A person's mistake (InputError), a full disk or a place that cannot be read or written is one line on stderr and
    exit 2; a failed training one line and exit 1; Ctrl-C one line and exit 130; a closed pipe (`| head`) ends quietly.
    Anything else is our bug and keeps its traceback.
    """
    try:
        code = main(parser.parse_args(argv))
        sys.stdout.flush()
    except InputError as error:
        sys.exit(_failed(str(error)))
    except TrainingFailed as error:
        print(f"Training failed: {single_line(str(error))}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            sys.exit(_failed(f"{where}{error.strerror}; free some space, then run the same command again"))
        if error.errno in _SURROUNDINGS and error.filename:
            sys.exit(_failed(f"{error.filename}: {error.strerror}; fix that or use another place"))
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            sys.exit(_EXIT_PIPE)
        raise
    sys.exit(code or 0)


def positive_int(text: str) -> int:
    """A whole number above 0, up to 2^31 - 1."""
    value = int(_number(text, "a whole number above 0, e.g. 16", lambda value: value > 0 and value == int(value)))
    if value > _LARGEST:
        raise argparse.ArgumentTypeError(f"got {text!r}; write at most {_LARGEST}")
    return value


def positive_float(text: str) -> float:
    """A number above 0."""
    return _number(text, "a number above 0, e.g. 0.5", lambda value: value > 0)


def share(text: str) -> float | Literal["auto"]:
    """auto, or a number above 0, up to 1: a trial uses one GPU at most, and without any it would run on the CPU."""
    if text == "auto":
        return "auto"
    return _number(text, "auto, or a number above 0 up to 1, e.g. 0.25", lambda value: 0 < value <= 1)


def inner_share(text: str) -> float:
    """A number above 0 and below 1."""
    return _number(text, "a number above 0 and below 1, e.g. 0.15", lambda value: 0 < value < 1)


def threshold_method(text: str) -> str:
    """f1, youden, or a sensitivity or precision to reach, e.g. "sensitivity=0.9"."""
    name, equals, value = text.partition("=")
    if text in ("f1", "youden"):
        return text
    if name not in ("sensitivity", "precision") or not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}; write f1, youden, or e.g. sensitivity=0.9 or precision=0.5")
    return f"{name}={inner_share(value):g}"


def duration(text: str) -> float:
    """Seconds of "8h", "30m", "90s", "1h30m", "1.5d"."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; write a time with its unit, e.g. 8h, 30m, 90s, 1h30m")
    return seconds


def size(text: str) -> int:
    """A count such as "6M", "500k", "1.5M", "40000"; k, M and G are thousands, millions and billions."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", text.lower())
    count = float(match[1]) * _SCALES[match[2]] if match else 0.0
    if not 0.5 < count < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; write a number above 0, e.g. 6M, 500k, 40000")
    return round(count)


def latency_device(text: str) -> str:
    """cpu, cpu:THREADS or cuda."""
    if not re.fullmatch(r"cpu(:[1-9]\d{0,4})?|cuda", text):
        raise argparse.ArgumentTypeError(f"got {text!r}; write cpu, cpu:THREADS (e.g. cpu:1) or cuda")
    return text


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(","))


def path(text: str) -> Path:
    """An absolute path."""
    return Path(text).expanduser().resolve()


def output_file(text: str) -> Path:
    """The absolute path of a file to write: its folder is there, and it is not a folder itself."""
    file = path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{file}: is a folder" if file.is_dir() else f"{file.parent}: no such folder")
    return file


def output_dir(text: str) -> Path:
    """The absolute path of a folder to write to; it need not exist yet."""
    folder = path(text)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: is a file, not a folder")
    return folder


def study_folder(results: Path, name: str) -> Path:
    """The folder of the study `name`, there or not.

    Raises:
        InputError: the name cannot be a folder's.
    """
    return results / checked_name(name, "study name")


def existing_study_folder(results: Path, name: str) -> Path:
    """The folder of a study that is there.

    Raises:
        InputError: it is not; the line lists those that are.
    """
    folder = study_folder(results, name)
    if not _is_study(folder):
        there = sorted(path.name for path in results.iterdir() if _is_study(path)) if results.is_dir() else []
        raise InputError(f"no study {name!r} in {results}; studies there: {', '.join(there) or 'none'}")
    return folder


def readable_study_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the study to read, which need not be there where --storage names its database.

    Raises:
        InputError: as `existing_study_folder`.
    """
    locate = study_folder if arguments.storage else existing_study_folder
    return locate(arguments.results, arguments.study)


def default_study_name() -> str:
    """YYYYMMDD_HHMMSS, under SLURM with _j and the job's number."""
    job = os.environ.get("SLURM_JOB_ID")
    return time.strftime("%Y%m%d_%H%M%S") + (f"_j{job}" if job else "")


def _is_study(folder: Path) -> bool:
    return (folder / "study.json").is_file() or (folder / "study.db").is_file()


def _number(text: str, good: str, holds: Callable[[float], bool]) -> float:
    try:
        value = float(text)
        if abs(value) < float("inf") and holds(value):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"got {text!r}; write {good}")


def _whole_number(good: str, smallest: int, largest: int) -> Callable[[str], int]:
    return lambda text: int(_number(text, good, lambda value: value == int(value) and smallest <= value <= largest))


port = _whole_number("a port from 1 to 65535, e.g. 6006", 1, 2**16 - 1)
seed = _whole_number("a whole number from 0 to 4294967295, e.g. 42", 0, 2**32 - 1)
niceness = _whole_number("a whole number from 0 to 19", 0, 19)


def _failed(message: str) -> int:
    print("error: " + single_line(message), file=sys.stderr)
    return EXIT_INPUT


def _stdout_is_closed() -> bool:
    """Whether it was our own output that nobody reads; if so, what is left of it is dropped."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed
