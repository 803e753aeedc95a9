"""Promotion as a person sees it: the final training, the per-label table, where the package lies."""

import argparse
import math
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    THRESHOLDS,
    add_place_options,
    add_promotion_options,
    add_study_options,
    check_thresholds,
    shown,
    study_command,
)
from xlite.commands.report import add_no_report_option, report_at_end
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from xlite.distill.teacher import Teacher
    from xlite.ledger import Ledger
    from xlite.promotion.promote import Promotion
    from xlite.study.options import Study
    from xlite.study.promotion_size import PromotionSize
    from xlite.tasks.prepare import Prepared
    from xlite.tasks.target_spec import TargetSpec
    from xlite.train.resumable import EpochResult


def promote_and_tell(
    study: "Study",
    prepared: "Prepared",
    teacher: "Teacher | None",
    ledger: "Ledger",
    size: "PromotionSize",
    *,
    epochs: int,
    num_folds: int,
    threshold_method: str,
    again: bool,
    packages: bool,
    console: Console,
    folder: "Path | None" = None,
) -> None:
    """Train the trials of `size` on all training data or by folds, promote the best, test it, tell of it, package it.

    Args:
        packages: whether the ONNX package is written.
        folder: of the promotion; None: the study's `promoted/`.
    """
    from xlite.commands.package import package_if_possible
    from xlite.promotion.best import promote_best
    from xlite.promotion.pictures import show_explanations
    from xlite.promotion.promote import promotion_config
    from xlite.promotion.retrain import Candidate
    from xlite.study.board import update_leaderboard
    from xlite.study.job import RUNS
    from xlite.study.members import members_of

    candidates, training = [], {"epochs": epochs, "num_folds": num_folds, "num_seeds": size.num_seeds}
    for trial in size.trials:
        members = members_of(study, prepared, teacher, console, winner=trial, **training)
        if members[0].trained is not None:
            told = "its student is " + ("promoted" if len(size.trials) == size.num_seeds == 1 else "one of them")
            console.say(f"Trial {trial.number} saw all the training data for {epochs} epochs: {told}")
        candidates.append(Candidate(trial, promotion_config(study.base, trial, epochs=epochs), tuple(members)))
    seeds = tuple((study.options.seed + number) % 2**32 for number in range(size.num_seeds))
    what = "on all the training data" if num_folds == 1 else f"{num_folds} folds"
    if num_folds > 1 and study.options.num_repeats > 1:
        what += f", {study.options.num_repeats} times"
    numbers = ", ".join(str(trial.number) for trial in size.trials)
    num_trainings = len(seeds) * sum(len(each.members) for each in candidates)
    with console.progress(f"Promoting trial {numbers}, {what}", "epochs") as progress:

        def on_epoch(number: int, kept: "EpochResult") -> None:
            progress(number * epochs + kept.epoch, num_trainings * epochs)

        promotion = promote_best(
            candidates,
            seeds,
            study.task,
            ledger,
            folder=folder or study.options.folder / "promoted",
            retrained_in=study.options.folder / "retrained",
            latency_device=study.options.latency_device,
            threshold_method=threshold_method,
            again=again,
            on_epoch=on_epoch,
        )
    run = study.options.folder / RUNS / promotion.folder.relative_to(study.options.folder)
    show_explanations(promotion.folder, run, study.task.target_spec, prepared.table, prepared.full)
    update_leaderboard(ledger, study)
    tell(promotion, study.task.target_spec, console)
    if packages:
        package_if_possible(promotion.folder, study, prepared, ledger, console)


def tell(promotion: "Promotion", target_spec: "TargetSpec", console: Console) -> None:
    """The per-label table with its macro row, and the two numbers that matter."""
    metric, parts = target_spec.score, (promotion.train, promotion.validation, promotion.test)
    rows = {label: target_spec.label_row(*(part.per_label[label] for part in parts)) for label in parts[-1].per_label}
    if all(macro := [_macro(part.scalars) for part in parts]):
        rows["macro"] = target_spec.label_row(*macro)
    of_test, main = promotion.intervals, target_spec.columns.per_label
    for label, row in rows.items() if of_test.per_label else ():
        found = of_test.scalars.get(f"{main}_macro") if label == "macro" else of_test.per_label[label].get(main)
        row["test 95%"] = str(found or "-")
    titles = [title.replace(" ", "\n") for title in next(iter(rows.values()))]
    table = FittedTable(
        {"label": "text", **dict.fromkeys(titles, "number")},
        dropped_first=titles[:0:-1],  # from the right, up to the first
        complete_in=shown(promotion.folder / "metrics.json"),
        title="The promoted student, label by label",
    )
    for label, row in rows.items():
        if label == "macro":
            table.add_section()
        table.add_row(label, *row.values())
    console.show(table)
    for line in promotion.chosen.describe(metric, promotion.test_values) if promotion.chosen else ():
        console.say(line)
    reads = f", read {promotion.reads_of_test} times" if promotion.reads_of_test > 1 else ""
    interval = of_test.scalars[metric]
    ends = f"no interval, {interval.note}" if interval.low is None else f"95% interval {interval}, groups resampled"
    console.say(
        f"Promoted student: {metric} {promotion.validation.scalars[metric]:.4f} on validation "
        f"(epoch {', '.join(map(str, promotion.epochs))}), "
        f"{promotion.test.scalars[metric]:.4f} on test{reads} ({ends})"
    )
    if promotion.repeats:
        mean, sd = fmean(promotion.repeats), stdev(promotion.repeats)
        console.say(f"Folds dealt {len(promotion.repeats)} times: validation {metric} {mean:.4f}, spread (SD) {sd:.4f}")
    for line in promotion.lines:
        console.say(line)
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
    out.add_argument(
        "--trial",
        type=int,
        metavar="N",
        help="promote this trial (default: the best one, of several objectives the knee)",
    )
    out.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget (default: the study's)")
    add_promotion_options(out, of="the study's")
    add_no_report_option(out)
    add_place_options(out.add_argument_group("what has been moved"), teacher=True)
    return out


def checked_repeats(num_repeats: int, num_folds: int) -> int:
    """The repeats.

    Raises:
        InputError: several repeats of a single fold, which would be the same model again.
    """
    if num_repeats > 1 and num_folds == 1:
        raise InputError(f"--repeats {num_repeats} deals folds again, and there are none; give --folds K too")
    return num_repeats


def run(arguments: argparse.Namespace) -> int:
    """Promote from a study that has ended or was stopped."""
    from xlite.commands.reopen import Places, adopt_and_tell, reopen, same_teacher
    from xlite.ledger.objectives import knee_of, objectives_of
    from xlite.study.promotion_size import promotion_size

    if arguments.trial is not None and (arguments.promote_top or 1) > 1:
        raise InputError("--promote-top with --trial: that is one trial; leave one out")
    console, places = Console(), Places.named(arguments)
    folder = cli.existing_study_folder(arguments.results, arguments.study)
    if arguments.adopt:
        adopt_and_tell(folder, arguments.storage, console)
        places = replace(places, storage=None)
    opened = reopen(folder, console, places, writes=True)
    options, study = opened.study.options, opened.study
    rows = opened.ledger.rows()
    trial, top, num_seeds = arguments.trial, arguments.promote_top, arguments.promote_seeds
    if trial is None:
        num_seeds = num_seeds or (None if top else options.promote_seeds)
        top = top or (None if arguments.promote_seeds else options.promote_top)
        if arguments.promote_top is None and options.objectives:
            knee = knee_of(rows, objectives_of(options.objectives))
            trial = None if knee is None else knee.number
    if trial is not None:
        rows, top = [row for row in rows if row.number == trial], 1
    if all(row.value is None for row in rows):
        which = "no trial has a value" if trial is None else f"there is no trial {trial} with a value"
        raise InputError(f"study {arguments.study}: {which}; see `{study_command('leaderboard', folder)}`")
    check_thresholds(arguments.thresholds, study.task.target_spec)
    num_folds = arguments.folds or options.num_folds
    num_repeats = checked_repeats(arguments.repeats, num_folds) if arguments.repeats else options.num_repeats
    study = replace(study, options=replace(options, num_repeats=num_repeats))
    size = promotion_size(
        study,
        opened.prepared,
        rows,
        num_folds=num_folds,
        limit_s=math.inf,
        top=top,
        num_seeds=num_seeds,
    )
    console.say(size.describe())
    configs = [study.base.override(trial.overrides, source=f"trial {trial.number}") for trial in size.trials]
    teacher = same_teacher(opened, console) if any(config.distill.needs_teacher for config in configs) else None
    promote_and_tell(
        study,
        opened.prepared,
        teacher,
        opened.ledger,
        size,
        epochs=arguments.epochs or options.promote_epochs,
        num_folds=num_folds,
        threshold_method=arguments.thresholds or THRESHOLDS,
        again=arguments.again,
        packages=not arguments.no_package,
        console=console,
    )
    if not arguments.no_report:
        report_at_end(folder, opened.prepared, options.storage, console)
    return 0
