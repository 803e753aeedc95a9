"""Students of several studies on the same patients: scores, what they cost, paired differences."""

import argparse
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import add_results_option, shown
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from xlite.study.comparison import Pair, Rows, Score
    from xlite.study.contestants import Contestant

COLUMNS = (
    *("row", "first", "second", "label", "value", "low", "high", "p", "verdict", "models", "size_mb", "latency_ms"),
    *("epochs", "device_s", "search_device_s"),
)


def parser() -> argparse.ArgumentParser:
    """Options of `xlite compare`."""
    out = cli.parser("Compare promoted students or trials on the same patients, paired.")
    out.add_argument(
        "students", nargs="+", metavar="STUDENT", help="a study, STUDY:TRIAL, or a folder with a promoted student"
    )
    add_results_option(out)
    out.add_argument(
        "--part",
        choices=("val", "test"),
        default="val",
        help="the patients: val, which may be looked at again and again, or test, each look at which is recorded",
    )
    out.add_argument("--again", action="store_true", help="look at test although it has been looked at")
    out.add_argument("--csv", type=cli.output_file, metavar="FILE", help="write every row, labels too, to this file")
    return out


def run(arguments: argparse.Namespace) -> int:
    """Open all, find the patients that none was trained on, judge, tell."""
    if arguments.again and arguments.part != "test":
        raise InputError("--again is for --part test; the validation part is free")
    if len(arguments.students) < 2:
        raise InputError(f"only {arguments.students[0]} is named; name another to compare it with")
    from xlite.commands.compare_open import open_students
    from xlite.study.comparison import MIN_CASES, enough, label_pairs, pairs_of, score_of, untested
    from xlite.study.contestants import configurations, judged_on, sides_of

    console = Console()
    students = open_students(arguments.students, arguments.results, writes=arguments.part == "test")
    named = configurations(students)
    if len(named) < 2:
        raise InputError(
            f"{', '.join(arguments.students)}: seeds of one configuration; name another to compare it with"
        )
    rows, ids, notes = judged_on(students, arguments.part)
    for note in notes:
        console.say(note)
    if arguments.part == "test":
        record_reads(students, ids, again=arguments.again)
    sides = sides_of(named, rows, ids)
    scores = [score_of(side, rows) for side in sides]
    pairs = pairs_of(sides, rows)
    by_label = [label_pairs(*two, rows) for two in combinations(sides, 2)]
    console.show(score_table(named, scores, rows, arguments.part))
    for line in budgets(named):
        console.say(line)
    console.show(pair_table(pairs))
    if not enough(rows):
        console.say(f"Too few patients for a verdict: it needs {MIN_CASES} with and {MIN_CASES} without some label")
    for pair, labels in zip(pairs, by_label, strict=True):
        better = [f"{each.label} ({each.difference.mean:+.3f})" for each in labels if each.verdict != "tied"]
        console.say(
            f"{pair.first} - {pair.second}, AUC label by label: "
            + (f"differs in {', '.join(better)}" if better else "no label differs")
            + f" of {len(labels)} tested (Holm's correction)"
        )
    if few := untested(rows):
        console.say(f"Too few patients with or without them to test: {', '.join(few)}")
    if arguments.csv:
        write(arguments.csv, named, scores, [*pairs, *(pair for labels in by_label for pair in labels)])
        console.say(f"All rows are in {shown(arguments.csv)}")
    return 0


def record_reads(students: "Sequence[Contestant]", ids: "np.ndarray", *, again: bool) -> None:
    """Record in each study that its test part is looked at.

    Raises:
        InputError: it has been before, and not `again`.
    """
    from xlite.ledger import TestRead
    from xlite.promotion.reads import check_reads
    from xlite.storage.files import fingerprint

    identity = fingerprint(["compare", *sorted(model for each in students for model in each.models), *ids.tolist()])
    ledgers = {each.ledger.name + each.ledger.url: each.ledger for each in students if each.ledger is not None}
    for ledger in ledgers.values():
        check_reads(ledger, identity, again=again)
    names = ", ".join(each.name for each in students)
    for ledger in ledgers.values():
        ledger.add_test_read(TestRead.now(identity, f"comparison of {names}"))


def score_table(
    named: "dict[str, list[Contestant]]", scores: "Sequence[Score]", rows: "Rows", part: str
) -> FittedTable:
    """A row for each configuration."""
    titles = ("interval", "seeds", "models", "MB", "ms", "epochs", "device s", "search s")
    table = FittedTable(
        {"student": "text", rows.target_spec.score: "number", **dict.fromkeys(titles, "number")},
        dropped_first=("search s", "models", "seeds", "device s", "epochs", "ms"),
        complete_in="--csv FILE",
        title=f"On {len(rows.groups):,} {part} examples",
        note="MB and ms (at batch 1) of all its models together; device s: its training; search s: the search it is of",
    )
    for (name, seeds), score in zip(named.items(), scores, strict=True):
        first = seeds[0]
        table.add_row(
            *(name, f"{score.mean:.4f}", f"{score.low:.3f} to {score.high:.3f}", str(len(seeds))),
            *(str(len(first.models)), _shown(first.size_mb, 1), _shown(first.latency_ms, 1)),
            *(_shown(first.epochs, 0), _shown(first.device_s, 0), _shown(first.search_device_s, 0)),
        )
    return table


def pair_table(pairs: "Sequence[Pair]") -> FittedTable:
    """A row for each two."""
    table = FittedTable(
        {
            "first": "text",
            "second": "text",
            "difference": "number",
            "interval": "number",
            "p": "number",
            "verdict": "text",
        },
        dropped_first=(),
        title="First minus second, patients paired; p with Holm's correction for the number of pairs",
    )
    for pair in pairs:
        found = pair.difference
        interval = "-" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"
        table.add_row(pair.first, pair.second, f"{found.mean:+.4f}", interval, f"{pair.p:.3f}", pair.verdict)
    return table


def budgets(named: "dict[str, list[Contestant]]") -> list[str]:
    """Whether training, and searching, took as much; not compared across kinds of devices."""
    from xlite.study.comparison import budget_line

    firsts = {name: seeds[0] for name, seeds in named.items()}
    lines = [budget_line("epochs of training", {name: each.epochs for name, each in firsts.items()})]
    if len({each.device for each in firsts.values()}) > 1:
        lines.append("They were trained on different devices, so their seconds do not compare")
    else:
        training = {name: each.device_s for name, each in firsts.items()}
        search = {name: each.search_device_s for name, each in firsts.items()}
        lines += [budget_line("device seconds of training", training), budget_line("device seconds of search", search)]
    return [each for each in lines if each]


def write(
    file: Path,
    named: "dict[str, list[Contestant]]",
    scores: "Sequence[Score]",
    pairs: "Sequence[Pair]",
) -> None:
    """The CSV file: scores, pairs, then pairs of each label."""
    from xlite.storage.files import write_text
    from xlite.storage.text import csv_text

    lines: list[tuple[object, ...]] = [COLUMNS]
    for (name, seeds), score in zip(named.items(), scores, strict=True):
        first = seeds[0]
        cost = (first.size_mb, first.latency_ms, first.epochs, first.device_s, first.search_device_s)
        cells = ["" if value is None else value for value in cost]
        lines.append(("score", name, "", "", score.mean, score.low, score.high, "", "", len(first.models), *cells))
    for pair in pairs:
        found, kind = pair.difference, "label" if pair.label else "pair"
        ends = ("", "") if math.isnan(found.low) else (found.low, found.high)
        values = (found.mean, *ends, pair.p, pair.verdict)
        lines.append((kind, pair.first, pair.second, pair.label, *values, *[""] * 6))
    write_text(file, csv_text([tuple(map(str, line)) for line in lines]))


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
