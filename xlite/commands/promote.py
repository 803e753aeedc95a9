"""Promotion as a person sees it: the final training, the per-label table, where the package lies."""

import argparse
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from xlite import cli
from xlite.commands.options import add_study_options, add_threshold_option
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.distill.teacher import Teacher
    from xlite.ledger import Ledger, TrialRecord
    from xlite.promote import Promotion
    from xlite.tasks.prepare import Prepared
    from xlite.train.loop import EpochReport
    from xlite.tune.setup import Study


def promote_and_tell(
    study: "Study",
    prepared: "Prepared",
    teacher: "Teacher",
    ledger: "Ledger",
    winner: "TrialRecord",
    *,
    epochs: int,
    threshold_method: Literal["f1", "youden"],
    console: Console,
) -> None:
    """Retrain `winner` on all training data, test it once, print what it does for each label."""
    from xlite.promote import promote, promotion_config
    from xlite.tune.setup import obtain_bank
    from xlite.tune.study import update_leaderboard

    config = promotion_config(study.base, winner, epochs=epochs)
    bank = obtain_bank(study, teacher, prepared.full, console) if config.distill.alpha > 0 else None
    with console.progress(f"Promoting trial {winner.number}, on all the training data", "epochs") as progress:

        def on_epoch(report: "EpochReport") -> None:
            progress(report.epoch, epochs)

        promotion = promote(
            config,
            study.task,
            prepared.full,
            bank,
            ledger,
            winner=winner,
            folder=study.options.folder / "promoted",
            threshold_method=threshold_method,
            on_epoch=on_epoch,
        )
    update_leaderboard(ledger, study)
    tell(promotion, study.task.metric, console)


def tell(promotion: "Promotion", metric: str, console: Console) -> None:
    """The per-label table and the two numbers that matter."""
    table = Table(title="The promoted student, label by label", title_justify="left")
    table.add_column("label")
    for name in ("val AUC", "test AUC", "test PR-AUC", "test positives", "threshold"):
        table.add_column(name, justify="right")
    for label, row in promotion.test.per_label.items():
        val = promotion.validation.per_label[label]
        table.add_row(
            label,
            _cell(val.get("auc")),
            _cell(row.get("auc")),
            _cell(row.get("pr_auc")),
            f"{row['num_positive']:.0f} of {row['num_known']:.0f}",
            f"{promotion.thresholds[label]:.3f}",
        )
    console.rich.print(table)
    low, high = promotion.interval
    console.say(
        f"Promoted student: {metric} {promotion.validation.scalars[metric]:.4f} on validation "
        f"(epoch {promotion.epoch}), "
        f"{promotion.test.scalars[metric]:.4f} on test (95% interval {low:.3f} to {high:.3f}, patients resampled)"
    )
    for part, evaluation in (("validation", promotion.validation), ("test", promotion.test)):
        for note in evaluation.notes:
            console.say(f"Note, {part}: {note}")


def parser() -> argparse.ArgumentParser:
    """Options of `promote.py`."""
    out = cli.parser("Retrain a study's winner on all the training data, test it once, and package it.")
    add_study_options(out, required=True)
    out.add_argument("--trial", type=int, metavar="N", help="promote this trial (default: the leaderboard's first)")
    out.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget (default: the study's)")
    add_threshold_option(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Promote from a study that has ended or was stopped."""
    from xlite.commands.reopen import reopen
    from xlite.tune.setup import obtain_teacher

    console = Console()
    opened = reopen(arguments, console)
    rows = {row.number: row for row in opened.ledger.rows()}
    winner = opened.ledger.best() if arguments.trial is None else rows.get(arguments.trial)
    if winner is None or winner.value is None:
        which = "any trial" if arguments.trial is None else f"trial {arguments.trial}"
        raise InputError(f"study {arguments.study}: there is no value of {which}; see runners/leaderboard.py")
    teacher = obtain_teacher(opened.study, opened.prepared.full, console)
    promote_and_tell(
        opened.study,
        opened.prepared,
        teacher.teacher,
        opened.ledger,
        winner,
        epochs=arguments.epochs or opened.study.options.promote_epochs,
        threshold_method=arguments.thresholds,
        console=console,
    )
    return 0


def _cell(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"
