"""Promotion as a person sees it: the final training, the per-label table, where the package lies."""

import argparse
from typing import TYPE_CHECKING, Literal

from rich.table import Table
from rich.text import Text

from xlite.commands import cli
from xlite.commands.options import FOLDS_HELP, add_study_options, add_threshold_option
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xlite.distill.teacher import Teacher
    from xlite.ledger import Ledger, TrialRecord
    from xlite.promote import Member, Promotion
    from xlite.study.options import Study
    from xlite.tasks.prepare import Prepared
    from xlite.tasks.target_spec import TargetSpec
    from xlite.train.resumable import EpochResult


def promote_and_tell(
    study: "Study",
    prepared: "Prepared",
    teacher: "Teacher | None",
    ledger: "Ledger",
    winner: "TrialRecord",
    *,
    epochs: int,
    num_folds: int,
    threshold_method: Literal["f1", "youden"],
    console: Console,
) -> None:
    """Retrain `winner` on all training data or by folds, test it once, print what it does for each label."""
    from xlite.promote import STEM, Member, promote, promotion_config
    from xlite.study.board import update_leaderboard

    config = promotion_config(study.base, winner, epochs=epochs)
    trained = trained_already(study, prepared, winner, epochs=epochs, num_folds=num_folds)
    if trained is not None:
        console.say(f"Trial {winner.number} saw all the training data for {epochs} epochs: its student is promoted")
        members = [Member(STEM, prepared.full, bank=None, trained=trained)]
    else:
        distils = config.distill.alpha > 0
        members = list(members_of(study, prepared, teacher, num_folds=num_folds, distils=distils, console=console))
    what = "on all the training data" if num_folds == 1 else f"{num_folds} folds"
    with console.progress(f"Promoting trial {winner.number}, {what}", "epochs") as progress:

        def on_epoch(number: int, kept: "EpochResult") -> None:
            progress(number * epochs + kept.epoch, len(members) * epochs)

        promotion = promote(
            config,
            study.task,
            members,
            ledger,
            winner=winner,
            folder=study.options.folder / "promoted",
            threshold_method=threshold_method,
            on_epoch=on_epoch,
        )
    update_leaderboard(ledger, study)
    tell(promotion, study.task.target_spec, console)


def trained_already(
    study: "Study", prepared: "Prepared", winner: "TrialRecord", *, epochs: int, num_folds: int
) -> "Path | None":
    """The folder of the winner where training it again on all the data would give the same student, else None."""
    from xlite.study.job import TrialFolders

    same = num_folds == 1 and prepared.search is prepared.full and epochs == study.options.max_epochs
    folder = TrialFolders(study.options.folder).of(winner.number)
    there = all((folder / name).is_file() for name in ("student.safetensors", "student.json", "trial.json"))
    return folder if same and winner.state == "complete" and there else None


def members_of(
    study: "Study", prepared: "Prepared", teacher: "Teacher | None", *, num_folds: int, distils: bool, console: Console
) -> "Iterator[Member]":
    """The models to train: one on the whole training part, or one for each fold, whose teacher has not seen that fold.

    Raises:
        InputError: folds with a teacher from a file, which has seen rows that it would be judged on.
    """
    from xlite.promote import STEM, Member, folds
    from xlite.study.teacher import num_views, obtain_bank, obtain_teacher

    views = num_views(study.options.max_epochs)
    if num_folds == 1:
        bank = obtain_bank(study, teacher, prepared.full, console) if distils and teacher else None
        yield Member(STEM, prepared.full, bank, num_views=views)
        return
    if study.options.teacher_files and distils:
        raise InputError("--folds with --teacher: that teacher has seen the folds it would be judged on; use --folds 1")
    made = folds(prepared.full, study.task.target_spec, num_folds, seed=study.options.seed)
    for number, dataset in enumerate(made, start=1):
        bank = None
        if distils:
            bank = obtain_bank(study, obtain_teacher(study, dataset, console).teacher, dataset, console)
        yield Member(f"{STEM}_{number}", dataset, bank, num_views=views)


def tell(promotion: "Promotion", target_spec: "TargetSpec", console: Console) -> None:
    """The per-label table and the two numbers that matter."""
    table = Table(title="The promoted student, label by label", title_justify="left")
    metric, val = target_spec.score, promotion.validation.per_label
    rows = {
        label: target_spec.label_row(val[label], test, promotion.thresholds.get(label))
        for label, test in promotion.test.per_label.items()
    }
    table.add_column("label")
    for title in next(iter(rows.values())):
        table.add_column(title, justify="right")
    for label, row in rows.items():
        table.add_row(Text(label), *row.values())
    console.rich.print(table)
    low, high = promotion.interval
    console.say(
        f"Promoted student: {metric} {promotion.validation.scalars[metric]:.4f} on validation "
        f"(epoch {', '.join(map(str, promotion.epochs))}), "
        f"{promotion.test.scalars[metric]:.4f} on test (95% interval {low:.3f} to {high:.3f}, groups resampled)"
    )
    for part, evaluation in (("validation", promotion.validation), ("test", promotion.test)):
        for note in evaluation.notes:
            console.say(f"Note, {part}: {note}")


def parser() -> argparse.ArgumentParser:
    """Options of `xlite promote`."""
    out = cli.parser("Retrain a study's winner on all the training data, test it once, and package it.")
    add_study_options(out, required=True)
    out.add_argument("--trial", type=int, metavar="N", help="promote this trial (default: the leaderboard's first)")
    out.add_argument("--folds", type=cli.positive_int, metavar="K", help=FOLDS_HELP)
    out.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget (default: the study's)")
    add_threshold_option(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Promote from a study that has ended or was stopped."""
    from xlite.commands.reopen import reopen, same_teacher

    console = Console()
    opened = reopen(arguments, console)
    rows = {row.number: row for row in opened.ledger.rows()}
    winner = opened.ledger.best() if arguments.trial is None else rows.get(arguments.trial)
    if winner is None or winner.value is None:
        which = "any trial" if arguments.trial is None else f"trial {arguments.trial}"
        raise InputError(f"study {arguments.study}: there is no value of {which}; see `xlite leaderboard`")
    distils = opened.study.base.override(winner.overrides, source=f"trial {winner.number}").distill.alpha > 0
    teacher = same_teacher(opened, console) if distils else None
    promote_and_tell(
        opened.study,
        opened.prepared,
        teacher,
        opened.ledger,
        winner,
        epochs=arguments.epochs or opened.study.options.promote_epochs,
        num_folds=arguments.folds or opened.study.options.num_folds,
        threshold_method=arguments.thresholds,
        console=console,
    )
    return 0
