"""What a study's trials say: does distillation help, what matters, when validation turned, what it cost."""

import argparse

from xlite.commands import cli
from xlite.commands.options import add_study_options, shown
from xlite.console import Console


def parser() -> argparse.ArgumentParser:
    """Options of `xlite analyze`."""
    out = cli.parser("Answer from a study's ledger what it has shown so far, with intervals; also while it runs.")
    add_study_options(out, required=True)
    out.add_argument(
        "--out",
        type=cli.output_dir,
        metavar="DIR",
        help="where it is saved (default: analysis/ in the study's folder)",
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Read the ledger, write analysis.md and its pictures, print the answers."""
    folder = cli.readable_study_folder(arguments)
    from xlite.ledger import StudyManifest, open_to_read  # here, since a misspelt name need not wait for it
    from xlite.report.analysis import analyse, study_rows

    console = Console()
    with open_to_read(folder, arguments.storage) as ledger:
        study, trials = study_rows(ledger, StudyManifest.of_study(folder)), ledger.complete_trials()
    analysis = analyse(study, trials, arguments.out or folder / "analysis")
    console.say(f"Study {study.name}: {len(study.rows)} trials, {len(study.complete)} complete")
    for title, answer in analysis.answers.items():
        console.say(f"{title}\n  {answer}")
    report, *pictures = analysis.files
    console.say(f"{shown(report)}, with {len(pictures)} picture{'' if len(pictures) == 1 else 's'} beside it")
    return 0
