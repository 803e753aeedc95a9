"""A study's report as one HTML file, also while it runs; and the same at the end of a search or a promotion."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import add_study_options, shown, study_command
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.tasks.prepare import Prepared

REPORT = "report.html"


def parser() -> argparse.ArgumentParser:
    """Options of `xlite report`."""
    out = cli.parser("Write what a study searched and found as one HTML file that opens offline; also while it runs.")
    add_study_options(out, required=True)
    out.add_argument(
        "--out", type=cli.output_file, metavar="FILE", help=f"the file (default: {REPORT} in the study's folder)"
    )
    out.add_argument("--no-images", action="store_true", help="leave out pictures of the data")
    return out


def add_no_report_option(parser: "argparse._ActionsContainer") -> None:
    """--no-report, of commands that write one at their end."""
    parser.add_argument("--no-report", action="store_true", help=f"write no {REPORT} into the study's folder")


def run(arguments: argparse.Namespace) -> int:
    """Read the study, with its data where that is at hand, and write the file."""
    folder = cli.readable_study_folder(arguments)
    out: Path = arguments.out or folder / REPORT
    from xlite.html_report.write import write_report

    console = Console()
    prepared, why_not = _data(folder, arguments.storage, console)
    sections = write_report(
        folder, out, storage=arguments.storage, prepared=prepared, why_not=why_not, images=not arguments.no_images
    )
    console.say(f"{len(sections)} sections in {shown(out)} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def report_at_end(folder: Path, prepared: "Prepared", storage: str, console: Console) -> None:
    """Write the report of the study in `folder`, where it is; if that fails, say why and go on."""
    from xlite.html_report.write import write_report

    try:
        write_report(folder, folder / REPORT, storage=storage, prepared=prepared)
        console.say(f"Report: {shown(folder / REPORT)}")
    except Exception as error:  # whatever it is, the search has ended well
        again = study_command("report", folder)
        console.say(f"No report: {str(error) or type(error).__name__}; `{again}` tries again")


def _data(folder: Path, storage: str | None, console: Console) -> "tuple[Prepared | None, str]":
    """The study's data, or why it is not at hand.

    Where its pixel cache is gone, nothing is made again; where its files have other modification times, it is.
    """
    from xlite.ledger import StudyManifest

    manifest = StudyManifest.read(folder)
    cache = manifest.options.get("cache_dir") if manifest else None
    if manifest is None or not isinstance(cache, Path) or not manifest.pixel_key:
        return None, "nothing is recorded of it"
    if not (cache / manifest.pixel_key).is_dir():
        return None, "its pixel cache is not where it was"
    from xlite.commands.reopen import Places, reopen

    try:
        opened = reopen(folder, console, Places(storage=storage))
    except InputError as error:  # it may name a file, and so a patient
        console.say(f"No data in the report: {error}")
        return None, "it is not what it was, or not where it was"
    opened.ledger.close()
    return opened.prepared, ""
