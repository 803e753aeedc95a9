"""Promotion as a person sees it: the final training, the per-label table, where the package lies."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from xlite.commands import cli
from xlite.commands.options import FOLDS_HELP, THRESHOLDS, add_place_options, add_study_options, add_threshold_option
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xlite.distill.teacher import Teacher
    from xlite.ledger import Ledger, TrialRecord
    from xlite.promotion.promote import Promotion
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
    from xlite.promotion.promote import promote, promotion_config
    from xlite.study.board import update_leaderboard
    from xlite.study.members import members_of

    config = promotion_config(study.base, winner, epochs=epochs)
    members = members_of(study, prepared, teacher, console, winner=winner, epochs=epochs, num_folds=num_folds)
    if members[0].trained is not None:
        console.say(f"Trial {winner.number} saw all the training data for {epochs} epochs: its student is promoted")
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


def tell(promotion: "Promotion", target_spec: "TargetSpec", console: Console) -> None:
    """The per-label table with its macro row, and the two numbers that matter."""
    metric, parts = target_spec.score, (promotion.train, promotion.validation, promotion.test)
    rows = {label: target_spec.label_row(*(part.per_label[label] for part in parts)) for label in parts[-1].per_label}
    if all(macro := [_macro(part.scalars) for part in parts]):
        rows["macro"] = target_spec.label_row(*macro)
    titles = [title.replace(" ", "\n") for title in next(iter(rows.values()))]
    table = FittedTable(
        {"label": "text", **dict.fromkeys(titles, "number")},
        dropped_first=titles[:0:-1],  # from the right, up to the first
        complete_in="promoted/metrics.json",
        title="The promoted student, label by label",
    )
    for label, row in rows.items():
        if label == "macro":
            table.add_section()
        table.add_row(label, *row.values())
    console.show(table)
    low, high = promotion.interval
    console.say(
        f"Promoted student: {metric} {promotion.validation.scalars[metric]:.4f} on validation "
        f"(epoch {', '.join(map(str, promotion.epochs))}), "
        f"{promotion.test.scalars[metric]:.4f} on test (95% interval {low:.3f} to {high:.3f}, groups resampled)"
    )
    for part, evaluation in (("validation", promotion.validation), ("test", promotion.test)):
        for note in evaluation.notes:
            console.say(f"Note, {part}: {note}")


def _macro(scalars: "Mapping[str, float]") -> dict[str, float]:
    """Macro averages under the names that they have for a label."""
    return {name.replace("_macro", ""): value for name, value in scalars.items() if "_macro" in name}


def parser() -> argparse.ArgumentParser:
    """Options of `xlite promote`."""
    out = cli.parser("Retrain a study's winner on all the training data, test it once, and package it.")
    add_study_options(out, required=True, writes=True)
    out.add_argument("--trial", type=int, metavar="N", help="promote this trial (default: the leaderboard's first)")
    out.add_argument("--folds", type=cli.positive_int, metavar="K", help=FOLDS_HELP)
    out.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget (default: the study's)")
    add_threshold_option(out)
    add_place_options(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Promote from a study that has ended or was stopped."""
    from xlite.commands.reopen import Places, adopt_and_tell, reopen, same_teacher

    console, places = Console(), Places.named(arguments)
    folder = cli.study_folder(arguments.results.expanduser().resolve(), arguments.study)
    if arguments.adopt:
        adopt_and_tell(folder, arguments.storage, console)
        places = replace(places, storage=None)
    opened = reopen(folder, console, places, writes=True)
    rows = {row.number: row for row in opened.ledger.rows()}
    winner = opened.ledger.best() if arguments.trial is None else rows.get(arguments.trial)
    if winner is None or winner.value is None:
        which = "any trial" if arguments.trial is None else f"trial {arguments.trial}"
        raise InputError(f"study {arguments.study}: there is no value of {which}; see `xlite leaderboard`")
    distils = opened.study.base.override(winner.overrides, source=f"trial {winner.number}").distill.needs_teacher
    teacher = same_teacher(opened, console) if distils else None
    promote_and_tell(
        opened.study,
        opened.prepared,
        teacher,
        opened.ledger,
        winner,
        epochs=arguments.epochs or opened.study.options.promote_epochs,
        num_folds=arguments.folds or opened.study.options.num_folds,
        threshold_method=arguments.thresholds or THRESHOLDS,
        console=console,
    )
    return 0
