"""Print a study's leaderboard, and export it: `python runners/leaderboard.py --study NAME [--csv FILE]`."""

import argparse
import sys
from pathlib import Path

from xlite import cli

ROOT = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    out = cli.parser("Print the ranked trials of a study, also while it runs.")
    out.add_argument("--study", required=True, metavar="NAME", help="the study's name")
    out.add_argument(
        "--results", type=cli.results_dir, default=ROOT / "ray_results", metavar="DIR", help="where studies lie"
    )
    out.add_argument(
        "--csv", type=cli.output_file, metavar="FILE", help="write every row and column to this file as well"
    )
    out.add_argument("--top", type=cli.positive_int, default=20, metavar="K", help="search rows to print")
    out.add_argument("--storage", metavar="URL", help="database of the ledger (default: the one the study names)")
    return out


def main(arguments: argparse.Namespace) -> None:
    folder = None if arguments.storage else cli.existing_study_folder(arguments.results, arguments.study)
    from rich.console import Console  # here, since --help and a misspelt name need not wait for what follows

    from xlite.leaderboard import leaderboard_of, render, write_leaderboard
    from xlite.ledger import Ledger, study_storage

    url = study_storage(folder) if folder else arguments.storage
    with Ledger.open(url, arguments.study, create=False) as ledger:
        frame = leaderboard_of(ledger)
    Console(width=None if sys.stdout.isatty() else 140).print(render(frame, arguments.top))
    if arguments.csv:
        write_leaderboard(arguments.csv, frame)
        print(f"{len(frame)} rows in {arguments.csv}")


if __name__ == "__main__":
    cli.run(main, parser())
