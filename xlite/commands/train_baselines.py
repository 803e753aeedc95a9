"""Baselines: a fixed set of students without distillation, in the same leaderboard as the search."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    add_data_options,
    add_study_options,
    add_subset_option,
    cache_dir,
    open_configured,
    shown,
    space_file,
)
from xlite.commands.starting_weights import add_pretrained_option, study_defaults
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlite.ledger import TrialRecord
    from xlite.study.options import StudyOptions
    from xlite.tasks.target_spec import TargetSpec

POWER_SAFE = {"optim.batch_size": 16}
POWER_SAFE_THREADS = 4


def parser() -> argparse.ArgumentParser:
    """Options of `xlite baselines`."""
    out = cli.parser(
        "Train the baselines without distillation; the same --study continues, and `xlite tune` can share it."
    )
    add_study_options(out, required=False, writes=True)
    add_data_options(out)
    group = out.add_argument_group("baselines")
    group.add_argument("--space", type=Path, metavar="FILE", help="grid of configurations (default: the task's)")
    group.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget of each (default: the task's)")
    add_subset_option(group)
    add_pretrained_option(group)
    group.add_argument(
        "--profile",
        choices=("normal", "power-safe"),
        default="normal",
        help="power-safe: batch 16, one at a time on at most 4 threads",
    )
    group.add_argument("--pause", type=cli.duration, default=0.0, metavar="T", help="rest after each epoch, e.g. 30s")
    group.add_argument(
        "--max-concurrent", type=cli.positive_int, metavar="N", help="trainings at once (default: what fits)"
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Run the grid through the tuner and print a table; 130 when it was cut off."""
    from xlite.commands.reopen import take_place
    from xlite.study.foresee import foresee
    from xlite.study.options import Study
    from xlite.study.plan import plan_study
    from xlite.study.time_budget import TimeBudget
    from xlite.tasks import find_task
    from xlite.tune.preflight import check_surroundings
    from xlite.tune.study import run_study

    console = Console()
    name = arguments.study or f"baselines_{cli.default_study_name()}"
    folder = cli.study_folder(arguments.results, name)
    in_ledger = take_place(arguments, folder, console)
    task = find_task(arguments.task)
    options = resolve(arguments, in_ledger, folder, study_defaults(arguments, task, folder, console))
    console.say(f"Baselines of study {name} in {shown(options.folder)}")
    check_surroundings(options, task, console.say)
    prepared, base = open_configured(arguments, console, options.configure, subset=arguments.subset)
    plan = plan_study(Study(options, prepared.task, base), prepared.search, console)
    for line in (*plan.describe(), *foresee(plan, prepared, promotes=False)):
        console.say(line)
    result = run_study(plan, prepared, console, TimeBudget())
    console.show(table_of(result.ledger.rows(), prepared.task.target_spec))
    console.say(f"They stand in {shown(folder / 'leaderboard.csv')}, phase baseline")
    if result.winner is None and not result.num_interrupted:
        raise InputError(f"study {name}: no baseline produced a value; the reasons are in its leaderboard.csv")
    if result.num_interrupted:
        console.say(f"Stopped; the same command with --study {name} continues")
        return 130
    return 0


def resolve(arguments: argparse.Namespace, name: str, folder: Path, kind: str) -> "StudyOptions":
    """The baselines asked for; their folder is `baselines/` in the study's.

    Raises:
        InputError: options that exclude each other.
    """
    from xlite.cores import available_cpus
    from xlite.device import device_kind
    from xlite.study.options import StudyOptions
    from xlite.tasks import find_task

    defaults = find_task(arguments.task).defaults[kind]
    budget = defaults.demo_budget if arguments.data is None else defaults.budget
    power_safe = arguments.profile == "power-safe"
    if power_safe and (arguments.max_concurrent or 1) > 1:
        raise InputError("--profile power-safe runs one at a time; leave out --max-concurrent")
    epochs = arguments.epochs or budget.max_epochs
    return StudyOptions(
        name=name,
        folder=folder / "baselines",
        storage=arguments.storage,
        task=arguments.task,
        space=space_file(arguments.space, defaults.baselines),
        num_trials=0,  # of a search, which this is not
        max_epochs=epochs,
        promote_epochs=epochs,
        teacher_epochs=budget.teacher_epochs,
        seed=arguments.seed,
        cache_dir=cache_dir(arguments),
        settings={} if arguments.image_size is None else {"data.image_size": arguments.image_size},
        phase="baseline",
        pretrained=arguments.pretrained,
        defaults=None if kind == device_kind() else kind,
        fixed=POWER_SAFE if power_safe else {},
        pause_s=arguments.pause,
        cpus_per_trial=min(POWER_SAFE_THREADS, available_cpus()) if power_safe else 1,
        max_concurrent=1 if power_safe else arguments.max_concurrent,
    )


def table_of(rows: "Sequence[TrialRecord]", target_spec: "TargetSpec") -> FittedTable:
    """A row for each baseline: best value and epoch, the last epoch's value, other metrics at the best, minutes."""
    from xlite.ledger import ranking_key

    metric = target_spec.score
    others = [name for name in target_spec.columns.validation_scalars() if name != metric]
    best, final = f"best {metric}", f"final {metric}"
    numbers = (best, "best epoch", final, *others, "minutes")
    table = FittedTable(
        {"model": "text", "attention": "text", **dict.fromkeys(numbers, "number")},
        dropped_first=(*reversed(others), final, "best epoch", "minutes", "attention"),
        complete_in="leaderboard.csv",
        title="Baselines",
    )
    for row in sorted(rows, key=ranking_key):
        summary = row.summary
        table.add_row(
            *_named(row),
            _digits(row.value),
            str(summary.best_epoch or "-"),
            _digits(summary.curve[-1] if summary.curve else None),
            *(_digits(summary.metrics.get(name)) for name in others),
            f"{summary.seconds / 60:.1f}" if row.state == "complete" else row.state,
        )
    return table


def _named(row: "TrialRecord") -> tuple[str, str]:
    """Model and attention; of a scan-line encoder its mask."""
    from xlite.config import model_name

    attention = {True: "causal", False: "global", None: row.overrides.get("model.attention", "-")}
    return model_name(row.overrides) or "-", attention[row.overrides.get("model.causal")]


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
