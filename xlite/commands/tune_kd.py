"""The main job: data, search, leaderboard, promotion."""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    add_data_options,
    add_promotion_options,
    add_set_option,
    add_study_options,
    add_subset_option,
    cache_dir,
    check_thresholds,
    open_configured,
    settings,
    shown,
    space_file,
    study_command,
)
from xlite.commands.promote_found import promote_all
from xlite.commands.report import add_no_report_option, report_at_end
from xlite.commands.starting_weights import add_pretrained_option, study_defaults
from xlite.commands.teacher_options import add_teacher_options, teacher_request
from xlite.console import Console
from xlite.errors import InputError
from xlite.storage.text import checked_name

if TYPE_CHECKING:
    from xlite.ledger import TrialRecord
    from xlite.study.options import StudyOptions
    from xlite.tasks.prepare import Prepared


def parser() -> argparse.ArgumentParser:
    """Options of `xlite tune`."""
    out = cli.parser("Search for the best distilled student, rank what was tried, retrain and test the winner.")
    add_study_options(out, required=False, writes=True)
    add_data_options(out)
    group = out.add_argument_group("search")
    group.add_argument(
        "--space", type=Path, metavar="FILE", help="search space: a file, or a shipped one's name (default: the task's)"
    )
    group.add_argument(
        "--trials",
        type=cli.positive_int,
        metavar="N",
        help="configurations in all (default: the task's, or the whole grid)",
    )
    group.add_argument(
        "--max-epochs", type=cli.positive_int, metavar="N", help="budget of a trial (default: the task's)"
    )
    add_subset_option(group)
    group.add_argument(
        "--time-budget",
        type=cli.duration,
        metavar="T",
        help="e.g. 8h, 30m: start no trial after this; running ones end, then the winner is promoted",
    )
    group.add_argument(
        "--warm-start", metavar="NAME", help="begin a new study with the best configurations of this one"
    )
    group.add_argument("--max-params", type=cli.size, metavar="N", help="largest student, e.g. 6M")
    group.add_argument("--max-mb", type=cli.positive_float, metavar="F", help="largest weights file, MB")
    group.add_argument("--max-latency-ms", type=cli.positive_float, metavar="F", help="slowest student at batch 1")
    _add_objective_options(group)
    add_pretrained_option(group)
    add_set_option(group)
    _add_teacher_and_promotion_options(out)
    _add_machine_options(out)
    add_no_report_option(out)
    out.add_argument("--dry-run", action="store_true", help="check and print the plan, train nothing")
    return out


def _add_teacher_and_promotion_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("teacher and promotion")
    add_teacher_options(group)
    add_promotion_options(group, of="the task's", repeats=1)
    group.add_argument(
        "--outer-folds",
        type=cli.positive_int,
        metavar="K",
        help="nested: a search of its own for each of K folds of all the data, its winner judged on the fold it never "
        "saw; takes K times as long, and --time-budget is of each",
    )
    group.add_argument(
        "--promote-reserve",
        type=cli.duration,
        metavar="T",
        help="time after --time-budget for running trials and promotion; what does not fit is left to a later command "
        "(default: no limit)",
    )
    group.add_argument(
        "--promote-epochs",
        type=cli.positive_int,
        metavar="N",
        help="budget of the final training (default: the task's)",
    )
    group.add_argument(
        "--promote",
        choices=("front", "knee", "best"),
        help="of several objectives: every member of the front, each into promoted/<trial>/, the knee (default), or "
        "the best score",
    )
    group.add_argument("--no-promote", action="store_true", help="end with the leaderboard")


def _add_objective_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--objectives",
        type=cli.names,
        metavar="NAMES",
        help="search for several at once, e.g. auc,latency_ms,size_mb: the task's metric, then latency_ms, size_mb, "
        "params or another metric (name:max or name:min where X-Lite does not know its direction)",
    )
    group.add_argument(
        "--latency-device",
        type=cli.latency_device,
        metavar="DEVICE",
        help="time students on cpu, cpu:THREADS or cuda (default: as trials run)",
    )


def _add_machine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--gpus-per-trial", type=cli.share, default="auto", metavar="auto|F", help="share of a GPU")
    group.add_argument("--cpus-per-trial", type=cli.positive_int, default=1, metavar="N", help="threads of a trial")
    group.add_argument(
        "--max-concurrent", type=cli.positive_int, metavar="N", help="trials at once (default: what fits)"
    )
    group.add_argument(
        "--mps",
        action="store_true",
        help="trials on one GPU compute at the same time, by NVIDIA's MPS where a process can compute through it, "
        "instead of taking turns (not measured on a GPU yet)",
    )
    group.add_argument(
        "--hang-limit",
        type=cli.duration,
        default=3600.0,
        metavar="T",
        help="end a trial that has not finished an epoch for this long (default: 1h)",
    )
    group.add_argument(
        "--niceness",
        type=cli.niceness,
        default=0,
        metavar="N",
        help="added to the niceness of all processes, so that others come first, 0 to 19",
    )
    group.add_argument(
        "--address", metavar="ADDR", help="join this Ray cluster: HOST:PORT of its head, or auto for one that runs here"
    )


def run(arguments: argparse.Namespace) -> int:
    """One search, or one for each outer fold; 130 after Ctrl-C."""
    if arguments.outer_folds is None:
        return search(arguments)
    from xlite.commands.nested import run_nested

    return run_nested(arguments, search)


def search(arguments: argparse.Namespace) -> int:
    """Everything from raw images to `promoted/`; 130 after Ctrl-C."""
    from xlite.commands.reopen import take_place
    from xlite.report.leaderboard import leaderboard_of, render
    from xlite.study.foresee import foresee
    from xlite.study.objectives import resolve_objectives
    from xlite.study.options import Study
    from xlite.study.plan import plan_study
    from xlite.study.time_budget import TimeBudget
    from xlite.tasks import find_task
    from xlite.tune.preflight import check_surroundings

    os.nice(arguments.niceness)
    console = Console()
    if arguments.adopt and arguments.dry_run:
        raise InputError("--adopt changes the study, --dry-run nothing; leave one out")
    time_budget = TimeBudget(arguments.time_budget, arguments.promote_reserve)
    name = cli.default_study_name() if arguments.study is None else arguments.study
    folder = cli.study_folder(arguments.results, name)
    in_ledger = take_place(arguments, folder, console)
    task = find_task(arguments.task)
    options = resolve(arguments, in_ledger, folder, study_defaults(arguments, task, folder, console))
    console.say(f"Study {name} in {shown(folder)}")
    check_surroundings(options, task, console.say)
    from xlite.tune.study import run_study  # imports Ray, which then reads what the check has found

    prepared, base = open_configured(arguments, console, options.configure, subset=arguments.subset)
    check_thresholds(arguments.thresholds, prepared.task.target_spec)
    objectives = resolve_objectives(options.objectives, prepared.task.target_spec)
    plan = plan_study(Study(replace(options, objectives=objectives), prepared.task, base), prepared.search, console)
    study = plan.study
    num_searches, again = vars(arguments).get("num_searches", 1), vars(arguments).get("nested", name)
    foreseen = foresee(plan, prepared, promotes=not arguments.no_promote, num_searches=num_searches)
    for line in (*plan.describe(), *foreseen, *kept_for_later(arguments), *read_before(arguments, folder)):
        console.say(line)
    if arguments.dry_run:
        console.say("Dry run: nothing was trained")
        return 0
    console.say(f"Watch it: {study_command('watch', folder)}")
    result = run_study(plan, prepared, console, time_budget)
    console.show(render(leaderboard_of(result.ledger), top=5))
    if result.num_interrupted:
        console.say(
            f"Stopped; {result.num_interrupted} trials were cut off. The same command with --study {again} continues"
        )
        return 130
    if result.num_left:
        left = f"The time budget is spent, {result.num_left} trials are left"
        later = "" if arguments.no_promote else "; to promote again then takes --again"
        console.say(f"{left}. The same command with --study {again} runs them{later}")
        if result.winner is None:
            return 0
    if result.winner is None:
        _report(arguments, folder, prepared, study.options.storage, console)
        raise InputError(f"study {name}: no trial produced a value; the reasons are in {folder / 'leaderboard.csv'}")
    if result.teacher is not None:
        tell_of_teacher(result.winner, result.ledger.rows(), result.teacher.value, study.task.metric, console)
    try:
        promoted = not arguments.no_promote and promote_all(study, prepared, result, arguments, time_budget, console)
    except InputError:  # the search has ended well
        _report(arguments, folder, prepared, study.options.storage, console)
        raise
    _report(arguments, folder, prepared, study.options.storage, console)
    console.say(f"Everything is in {shown(folder)}: leaderboard.csv, trials/" + (", promoted/" if promoted else ""))
    return 0


def _report(arguments: argparse.Namespace, folder: Path, prepared: "Prepared", storage: str, console: Console) -> None:
    if not arguments.no_report:
        report_at_end(folder, prepared, storage, console)


def resolve(arguments: argparse.Namespace, name: str, folder: Path, kind: str) -> "StudyOptions":
    """The study asked for, with the task's defaults of this `kind` where nothing was said.

    Raises:
        InputError: options that exclude each other.
    """
    from xlite.device import device_kind
    from xlite.study.options import StudyOptions
    from xlite.tasks import find_task

    _check_objectives(arguments)
    teacher = teacher_request(arguments)
    if arguments.address and arguments.niceness:
        raise InputError("--niceness with --address: a cluster's workers have the niceness it was started with")
    from xlite.commands.promote import checked_repeats

    defaults, is_demo = find_task(arguments.task).defaults[kind], arguments.data is None
    budget = defaults.demo_budget if is_demo else defaults.budget
    num_trials = arguments.trials or budget.num_trials
    _check_promotion(arguments, num_trials)
    folds = num_folds(arguments, 1 if is_demo else defaults.folds)
    return StudyOptions(
        name=name,
        folder=folder,
        storage=arguments.storage,
        task=arguments.task,
        space=space_file(arguments.space, defaults.space),
        num_trials=num_trials,
        grid_trials=arguments.trials,
        max_epochs=arguments.max_epochs or budget.max_epochs,
        promote_epochs=arguments.promote_epochs or budget.promote_epochs,
        teacher_epochs=budget.teacher_epochs,
        num_folds=folds,
        num_repeats=checked_repeats(arguments.repeats, folds),
        promote_top=arguments.promote_top or (1 if is_demo and not arguments.promote_seeds else None),
        promote_seeds=arguments.promote_seeds or (1 if is_demo and not arguments.promote_top else None),
        seed=arguments.seed,
        cache_dir=cache_dir(arguments),
        settings=settings(arguments, epochs="--max-epochs", seed="--seed", threads="--cpus-per-trial"),
        teacher_files=teacher.files,
        teacher_answers=teacher.answers,
        teacher_weights=teacher.weights,
        teacher_trained_on=teacher.trained_on,
        allow_other_split=teacher.allow_other_split,
        pretrained=arguments.pretrained,
        defaults=None if kind == device_kind() else kind,
        max_params=arguments.max_params,
        max_mb=arguments.max_mb,
        max_latency_ms=arguments.max_latency_ms,
        gpus_per_trial=None if arguments.gpus_per_trial == "auto" else arguments.gpus_per_trial,
        cpus_per_trial=arguments.cpus_per_trial,
        max_concurrent=arguments.max_concurrent,
        mps=arguments.mps,
        time_budget_s=arguments.time_budget,
        promote_reserve_s=arguments.promote_reserve,
        warm_start=checked_name(arguments.warm_start, "--warm-start") if arguments.warm_start else None,
        hang_limit_s=arguments.hang_limit,
        address=arguments.address,
        objectives=tuple(arguments.objectives or ()),
        latency_device=arguments.latency_device,
    )


def _check_promotion(arguments: argparse.Namespace, num_trials: int) -> None:
    """Raises InputError where options of a promotion exclude each other, or ask for what the search will not have."""
    from xlite.study.promotion_size import check_size

    if arguments.no_promote and (arguments.thresholds or arguments.again):
        given = "--thresholds" if arguments.thresholds else "--again"
        raise InputError(f"{given} with --no-promote: nothing is promoted; give it to `xlite promote`")
    if arguments.no_promote and arguments.promote_reserve is not None:
        raise InputError("--promote-reserve keeps time for a promotion, and --no-promote leaves that out; drop one")
    check_size(arguments.promote_top, arguments.promote_seeds)
    if arguments.promote_top and arguments.promote_top > num_trials:
        raise InputError(f"--promote-top {arguments.promote_top}: the search has {num_trials} trials")


def _check_objectives(arguments: argparse.Namespace) -> None:
    """Raises InputError where --objectives, --latency-device or --promote cannot be followed."""
    from xlite.device import choose_device
    from xlite.study.model_costs import latency_target
    from xlite.study.objectives import check_before_data
    from xlite.tasks import find_task

    if arguments.objectives:
        check_before_data(arguments.objectives, find_task(arguments.task))
    if arguments.latency_device:
        latency_target(arguments.latency_device, choose_device(), arguments.cpus_per_trial)
    if arguments.promote and arguments.no_promote:
        raise InputError(f"--promote {arguments.promote} with --no-promote: drop one")
    if arguments.promote in ("front", "knee") and not arguments.objectives:
        raise InputError(f"--promote {arguments.promote}: a search with one objective has no front; give --objectives")
    if arguments.objectives and arguments.promote != "best" and (arguments.promote_top or 1) > 1:
        raise InputError("--promote-top compares trials by the score; with --objectives add --promote best")


def kept_for_later(arguments: argparse.Namespace) -> list[str]:
    """A line on options of a promotion that this command does not make."""
    options = {
        "--folds": arguments.folds,
        "--repeats": arguments.repeats if arguments.repeats > 1 else None,
        "--promote-epochs": arguments.promote_epochs,
        "--promote-top": arguments.promote_top,
        "--promote-seeds": arguments.promote_seeds,
    }
    given = " and ".join(option for option, value in options.items() if value is not None)
    return [f"--no-promote: {given} will be what `xlite promote` does"] if arguments.no_promote and given else []


def read_before(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """A line where the study in `folder` has promoted a model already, and so read its test part."""
    if arguments.no_promote or arguments.again or not any(folder.glob("promoted/**/metrics.json")):
        return []
    return ["A model of this study was promoted, and its test part read: to promote another trial takes --again"]


def num_folds(arguments: argparse.Namespace, default: int) -> int:
    """The folds asked for; one where the teacher is given, since it has seen the folds it would be judged on.

    Raises:
        InputError: several folds and a given teacher were asked for.
    """
    if not arguments.teacher or arguments.no_promote:
        return arguments.folds or default
    if (arguments.folds or 1) > 1:
        raise InputError("--folds with --teacher: that teacher has seen the folds it would be judged on; use --folds 1")
    return 1


def tell_of_teacher(
    best: "TrialRecord", rows: "Sequence[TrialRecord]", teacher_value: float, metric: str, console: Console
) -> None:
    """The best student beside the teacher, and a line where one that never heard the teacher is better than it."""
    from xlite.config import is_taught

    teacher = "unknown" if math.isnan(teacher_value) else f"{teacher_value:.4f}"
    console.say(f"Validation {metric}: teacher {teacher}, best student {best.value:.4f} (trial {best.number})")
    alone = [row for row in rows if row.state == "complete" and not is_taught(row.overrides)]
    first = max(alone, key=lambda row: row.value or 0.0, default=None)
    if first is not None and first.value is not None and first.value > teacher_value:
        console.say(
            f"Trial {first.number}, a student without distillation, beats the teacher ({metric} {first.value:.4f} "
            f"against {teacher}): train a better one with `xlite teacher` and give it with --teacher"
        )
