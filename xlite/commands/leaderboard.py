"""Printing a study's leaderboard, also while it runs, and exporting it."""

import argparse

from xlite.commands import cli
from xlite.commands.options import home, storage_url
from xlite.console import Console


def parser() -> argparse.ArgumentParser:
    """Options of `xlite leaderboard`."""
    out = cli.parser("Print the ranked trials of a study, also while it runs.")
    out.add_argument("--study", required=True, metavar="NAME", help="the study's name")
    out.add_argument(
        "--results", type=cli.results_dir, default=home() / "ray_results", metavar="DIR", help="where studies lie"
    )
    out.add_argument(
        "--csv", type=cli.output_file, metavar="FILE", help="write every row and column to this file as well"
    )
    out.add_argument("--top", type=cli.positive_int, default=20, metavar="K", help="search rows to print")
    out.add_argument("--storage", type=storage_url, metavar="URL", help="database of the ledger (default: the study's)")
    return out


def run(arguments: argparse.Namespace) -> None:
    """Read the ledger, print its first rows, write all of them where asked."""
    locate = cli.study_folder if arguments.storage else cli.existing_study_folder
    folder = locate(arguments.results, arguments.study)
    from xlite.ledger import open_to_read  # here, since --help and a misspelt name need not wait for it
    from xlite.report.leaderboard import leaderboard_of, render, write_leaderboard

    with open_to_read(folder, arguments.storage) as ledger:
        frame = leaderboard_of(ledger)
    Console().show(render(frame, arguments.top))
    if arguments.csv:
        write_leaderboard(arguments.csv, frame)
        print(f"{len(frame)} rows in {arguments.csv}")
