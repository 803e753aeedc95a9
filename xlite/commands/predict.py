"""Predictions of a packaged model for files and folders; also what a package's own predict.py runs."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.cores import available_cpus
from xlite.errors import EXIT_PASSED_OVER, InputError
from xlite.storage.text import escape_control_characters

if TYPE_CHECKING:
    from xlite.package.find import Search
    from xlite.package.stream import Outcome, Prediction

_FEW = 10
"""Up to so many predictions are shown as text on a terminal."""
_BAR_WIDTH = 30
_EVERY_S = 0.2
_WORDS = {"image": "images", "slices": "levels", "lines": "scans"}


def parser(model: Path | None = None) -> argparse.ArgumentParser:
    """Options of `xlite predict`.

    Args:
        model: the default of --model.
    """
    out = cli.parser(
        "Predict what images show: the calibrated probability of each label, and yes or no by its threshold; of "
        "classes the most probable. Files that cannot be read are listed and passed over (exit 3). PyTorch is not used."
    )
    out.add_argument("places", nargs="*", type=Path, metavar="FILE_OR_FOLDER", help="images; folders are searched")
    out.add_argument(
        "--model", type=Path, default=model, required=model is None, metavar="DIR",
        help="the package: a study's promoted/, or its model.onnx alone",
    )  # fmt: skip
    out.add_argument("--out", type=cli.output_file, metavar="FILE", help="write .csv, .json or .parquet, not to stdout")
    out.add_argument("--format", choices=("csv", "json", "parquet"), help="of rows (default: by --out's suffix; csv)")
    out.add_argument("--threads", type=cli.positive_int, metavar="N", help="cores to use (default: all)")
    out.add_argument("--self-test", action="store_true", help="predict the package's golden inputs and compare")
    return out


def run(arguments: argparse.Namespace) -> int:
    """Predict, or test the package by itself. Returns the exit code."""
    if arguments.self_test == bool(arguments.places):
        raise InputError("give files or folders to predict, or --self-test alone")
    for place in arguments.places:
        if not place.exists():
            raise InputError(f"{place}: no such file or folder")
    arguments.threads = arguments.threads or available_cpus()
    if arguments.self_test:
        return _test_itself(arguments.model, arguments.threads)
    return _predict(arguments)


def _test_itself(model: Path, threads: int) -> int:
    from xlite.package.golden import self_test
    from xlite.package.predict import open_package

    result = self_test(open_package(model, threads=threads), model if model.is_dir() else model.parent)
    print(
        f"self-test {'passed' if result.passed else 'FAILED'}: {result.num_inputs} inputs, largest difference of a "
        f"probability {result.difference:.2g} (at most {result.tolerance:g})"
    )
    return 0 if result.passed else 1


def _predict(arguments: argparse.Namespace) -> int:
    from xlite.package.predict import open_package  # here, since --help and a misspelt name need not wait for it
    from xlite.package.write import as_text, format_of, rows_of_prediction, writing

    kind = format_of(arguments.out, arguments.format)
    _refuse_to_overwrite(arguments.out, arguments.places, arguments.model)
    import cv2

    from xlite.package.find import Search
    from xlite.package.stream import predictions

    predictor = open_package(arguments.model, threads=1)
    about = predictor.about
    cv2.setNumThreads(1)  # each thread decodes a file of its own
    search = Search(arguments.places, about.input_spec)
    report = _Report(search)
    told = report.follow(predictions(predictor, search.found(), threads=arguments.threads))
    to_a_person = arguments.out is None and arguments.format is None and sys.stdout.isatty()
    to_a_person &= search.spec.layout != "lines"  # hundreds of rows each
    few = list(islice(told, _FEW + 1 if to_a_person else 1))  # so that nothing is written where there is nothing
    if to_a_person and len(few) <= _FEW:
        for prediction in few:
            print(as_text(about, prediction))
    else:
        with writing(arguments.out, kind, about) as write:
            for prediction in chain(few, told):
                for row in rows_of_prediction(about, prediction):
                    write(row)
    report.say_all(arguments.out)
    return EXIT_PASSED_OVER if report.num_passed_over else 0


def _refuse_to_overwrite(out: Path | None, places: Sequence[Path], model: Path) -> None:
    """Check that a file which is there already and will be replaced is neither an input nor part of the package."""
    if out is None or not out.exists():
        return
    from xlite.data.levels import POINTS, SERIES_TABLE
    from xlite.data.scan_lines import SCAN_SUFFIXES
    from xlite.data.sources.walk import may_be_picture
    from xlite.package.manifest import is_package, manifest_files

    root = (model if model.is_dir() else model.parent).resolve()
    package = manifest_files(root) if is_package(root) else [model.name]
    is_input = out in {place.resolve() for place in places} or may_be_picture(out)
    is_input |= out.suffix.lower() in SCAN_SUFFIXES or out.name in (POINTS, SERIES_TABLE)
    if is_input or any(out == root / name for name in package):
        raise InputError(f"--out {out}: it is an input or a part of the package; name another file")


class _Report:
    """Counts outcomes, lists what was passed over, draws a bar where stderr is a terminal, and says the sum."""

    def __init__(self, search: "Search") -> None:
        self.search = search
        self.total: int | None = None  # until they are counted; 100,000 files take a second or two
        if sys.stderr.isatty():
            Thread(target=self._count, daemon=True).start()
        self.num_predicted = self.num_passed_over = self.num_flagged = 0
        self.flags: Counter[str] = Counter()
        self.started = self.drawn = time.monotonic()

    def follow(self, outcomes: "Iterable[Outcome]") -> "Iterator[Prediction]":
        """The predictions among `outcomes`. Raises InputError after the last one if there was none at all."""
        from xlite.package.stream import Prediction

        for outcome in outcomes:
            if isinstance(outcome, Prediction):
                self.num_predicted += 1
                self.num_flagged += bool(outcome.flags)
                self.flags.update(outcome.flags)
                yield outcome
            else:
                self.num_passed_over += 1
                self._say(f"passed over: {outcome.id}: {outcome.reason}")
            self._draw()
        if not self.num_predicted + self.num_passed_over:
            places = ", ".join(map(str, self.search.places))
            raise InputError(f"{places}: no {self._what} there{self._others()}")

    def say_all(self, out: Path | None) -> None:
        """The last lines: how many, how fast, what was passed over, what is unlike the training images."""
        seconds = time.monotonic() - self.started
        rate = self.num_predicted / max(seconds, 1e-9)
        where = f", written to {out}" if out else ""
        self._say(f"{self.num_predicted:,} {self._what} predicted in {seconds:.1f} s, {rate:.1f} a second{where}")
        if self.num_passed_over:
            self._say(f"{self.num_passed_over:,} could not be read and were passed over, see above")
        if self.num_flagged:
            kinds = ", ".join(f"{name} {count:,}" for name, count in self.flags.items())
            self._say(f"{self.num_flagged:,} are unlike the training images ({kinds}); see the column flags")
        if others := self._others():
            self._say(others.removeprefix("; "))

    def _count(self) -> None:
        with suppress(InputError, OSError):  # met, and said, by the search itself
            self.total = sum(1 for _ in replace(self.search, passed_over=Counter()).found())

    @property
    def _what(self) -> str:
        return _WORDS[self.search.spec.layout]

    def _others(self) -> str:
        counts = self.search.passed_over
        kinds = ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in counts.most_common(5))
        return f"; other files in these folders, not read: {kinds}" if kinds else ""

    def _say(self, line: str) -> None:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(clear + escape_control_characters(line), file=sys.stderr)

    def _draw(self) -> None:
        now, done = time.monotonic(), self.num_predicted + self.num_passed_over
        if not sys.stderr.isatty() or now - self.drawn < _EVERY_S:
            return
        self.drawn = now
        rate = done / (now - self.started)
        text, total = f"{done:,} {self._what}, {rate:.0f} a second", self.total
        if total:
            bar = "#" * min(_BAR_WIDTH * done // total, _BAR_WIDTH)
            left = time.strftime("%H:%M:%S", time.gmtime(max(total - done, 0) / rate))
            text = f"[{bar:-<{_BAR_WIDTH}}] of {total:,}: {text}, {left} left"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
