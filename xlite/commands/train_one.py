"""One configuration, trained without Ray: the same loop, a line an epoch."""

import argparse
from functools import partial
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    add_data_options,
    add_set_option,
    add_subset_option,
    default_results,
    open_configured,
    settings,
    shown,
    tell_unread,
)
from xlite.commands.starting_weights import add_pretrained_option, find_start, run_defaults
from xlite.commands.teacher_options import add_teacher_options, teacher_request
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.metrics.multilabel import DeadLabels
    from xlite.train.resumable import EpochResult


def parser() -> argparse.ArgumentParser:
    """Options of `xlite train`."""
    out = cli.parser("Train one configuration, with or without a teacher, and save its best epoch.")
    add_data_options(out)
    add_subset_option(out)
    out.add_argument("--epochs", type=cli.positive_int, default=15, metavar="N", help="budget")
    out.add_argument("--threads", type=cli.positive_int, metavar="N", help="CPU threads (default: all)")
    add_teacher_options(out)
    out.add_argument(
        "--out",
        type=cli.output_dir,
        metavar="DIR",
        help="where it is saved and resumed (default: ray_results/one_<time>)",
    )
    add_pretrained_option(out)
    add_set_option(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data, distil if a teacher was given, train, save."""
    from xlite.cores import available_cpus
    from xlite.device import choose_device
    from xlite.models.origins import started
    from xlite.storage.folders import check_folder
    from xlite.storage.locks import locked
    from xlite.study.teacher import load_study_teacher, teacher_bank, tell_what_it_has_seen
    from xlite.tasks import find_task
    from xlite.tasks.defaults import base_config, pretrained_keys
    from xlite.train.checkpoint import remove_checkpoints
    from xlite.train.retry import train_to_the_end
    from xlite.train.run import TrainingRun

    console = Console()
    folder = arguments.out or default_results() / f"one_{cli.default_study_name()}"
    check_folder(folder, "name another with --out")
    request = teacher_request(arguments)
    given = settings(arguments, epochs="--epochs", seed="--seed", threads="--threads")
    chosen = {**({"distill.alpha": 0.5} if arguments.teacher else {}), **given}
    threads = arguments.threads or available_cpus()
    chosen |= pretrained_keys(arguments.pretrained, chosen)
    own = {"max_epochs": arguments.epochs, "seed": arguments.seed, "threads": threads, "settings": chosen}
    kind = run_defaults(arguments, find_task(arguments.task), console, backbone=chosen.get("model.backbone"))
    origins = find_start(base_config(find_task(arguments.task), kind, **own), arguments, console)
    prepared, config = open_configured(
        arguments, console, partial(base_config, kind=kind, **own), subset=arguments.subset
    )
    config = started(config, origins)
    task, dataset, device = prepared.task, prepared.search, choose_device(config.train.precision)
    tell_unread(given, config, task, console)
    bank = None
    if arguments.teacher and not config.distill.needs_teacher:
        console.say("--teacher: distill.alpha is 0, so the teacher is not used")
    elif arguments.teacher:
        tell_what_it_has_seen(request, prepared.full, console)
        cache = prepared.request.cache_dir
        teacher = load_study_teacher(request, task, prepared.full, config, cache_dir=cache, console=console)
        bank = teacher_bank(teacher.teacher, task, dataset, config, folder=cache / "banks", console=console)
    noted = None
    try:
        with locked(folder, waiting=None):
            results = train_to_the_end(
                TrainingRun(config, task, dataset, device, bank, origins=origins),
                folder=folder,
                stem="student",
                hyper_parameters={"model.backbone": config.model.backbone},
            )
            for result in results:
                noted = tell(result, task.metric, noted, console)
            remove_checkpoints(folder, "student")
    except BlockingIOError:
        raise InputError(f"--out {shown(folder)}: another process trains there") from None
    best = f"Best {task.metric} {result.best_value:.4f} at epoch {result.summary.best_epoch}"
    console.say(f"{best}, saved in {shown(folder)}")
    return 0


def tell(result: "EpochResult", metric: str, noted: "DeadLabels | None", console: Console) -> "DeadLabels | None":
    """Print one epoch, and its dead labels unless they are the ones `noted` last; returns those noted now."""
    report = result.report
    if report is None:
        console.say(f"Resuming after epoch {result.epoch}, best {metric} {result.best_value:.4f}")
        return noted
    dead = report.val.dead_labels if report.best_state is not None else None
    if dead and dead != noted:
        console.say(f"epoch {report.epoch:>3}  {dead.note}")
    mark = " *" if report.best_state is not None else ""
    console.say(
        f"epoch {report.epoch:>3}  loss {report.train['loss']:.4f}  {metric} {report.value:.4f}"
        f"{mark}  {sum(report.seconds.values()):.1f} s, {report.images_per_s:,.0f} images/s"
    )
    return dead or noted
