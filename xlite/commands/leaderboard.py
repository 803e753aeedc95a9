"""Printing a study's leaderboard, also while it runs, and exporting it."""

import argparse

from xlite.commands import cli
from xlite.commands.options import add_study_options, shown
from xlite.console import Console


def parser() -> argparse.ArgumentParser:
    """Options of `xlite leaderboard`."""
    out = cli.parser("Print the ranked trials of a study, also while it runs.")
    add_study_options(out, required=True)
    out.add_argument(
        "--csv", type=cli.output_file, metavar="FILE", help="write every row and column to this file as well"
    )
    out.add_argument("--top", type=cli.positive_int, default=20, metavar="K", help="search rows to print")
    return out


def run(arguments: argparse.Namespace) -> None:
    """Read the ledger, print its first rows, write all of them where asked."""
    folder = cli.readable_study_folder(arguments)
    from xlite.ledger import open_to_read  # here, since --help and a misspelt name need not wait for it
    from xlite.report.leaderboard import leaderboard_of, render, write_leaderboard

    with open_to_read(folder, arguments.storage) as ledger:
        frame = leaderboard_of(ledger)
    console = Console()
    console.show(render(frame, arguments.top))
    if arguments.csv:
        write_leaderboard(arguments.csv, frame)
        console.say(f"{len(frame)} rows in {shown(arguments.csv)}")
