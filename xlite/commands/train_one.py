"""One configuration, trained without Ray: the same loop, a line an epoch."""

import argparse
from pathlib import Path

from xlite.commands import cli
from xlite.commands.options import (
    add_data_options,
    add_set_option,
    add_subset_option,
    home,
    open_data,
    settings,
    shown,
)
from xlite.console import Console
from xlite.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Options of `xlite train`."""
    out = cli.parser("Train one configuration, with or without a teacher, and save its best epoch.")
    add_data_options(out)
    add_subset_option(out)
    out.add_argument("--epochs", type=cli.positive_int, default=15, metavar="N", help="budget")
    out.add_argument("--threads", type=cli.positive_int, metavar="N", help="CPU threads (default: all)")
    out.add_argument("--teacher", type=Path, nargs="+", default=[], metavar="FILE", help="one, or several to average")
    out.add_argument("--allow-other-split", action="store_true", help="take a teacher trained on another split")
    out.add_argument(
        "--out",
        type=cli.results_dir,
        metavar="DIR",
        help="where it is saved, and gone on with (default: ray_results/one_<time>)",
    )
    add_set_option(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data, distil if a teacher was given, train, save."""
    from xlite.cores import available_cpus
    from xlite.device import choose_device, device_kind
    from xlite.storage.locks import locked
    from xlite.study.teacher import load_study_teacher, teacher_bank
    from xlite.tasks import find_task
    from xlite.tasks.defaults import base_config
    from xlite.train.checkpoint import remove_checkpoints
    from xlite.train.resumable import train_resumable
    from xlite.train.step import TrainingFailed

    console = Console()
    task = find_task(arguments.task)
    threads = arguments.threads or available_cpus()
    alpha = {"distill.alpha": 0.5} if arguments.teacher else {}
    own = {"max_epochs": arguments.epochs, "seed": arguments.seed, "threads": threads}
    chosen = {**alpha, **settings(arguments)}
    data = base_config(task, device_kind(), settings=chosen, **own).data
    prepared = open_data(arguments, task, console, data=data, subset=arguments.subset)
    task = prepared.task
    config = base_config(task, device_kind(), settings=chosen, **own)
    dataset, device = prepared.search, choose_device(config.train.precision)
    bank = None
    if arguments.teacher:
        files = tuple(file.expanduser().resolve() for file in arguments.teacher)
        teacher = load_study_teacher(files, task, prepared.full, device, allow_other_split=arguments.allow_other_split)
        console.say(f"Teacher {teacher.names}: validation {task.metric} {teacher.shown_value}")
        bank = teacher_bank(
            teacher.teacher, task, dataset, config, folder=prepared.request.cache_dir / "banks", console=console
        )
    folder = (arguments.out or home() / "ray_results" / f"one_{cli.default_study_name()}").expanduser().resolve()
    told = None
    try:
        with locked(folder, waiting=None):
            for kept in train_resumable(
                config,
                task,
                dataset,
                folder=folder,
                stem="student",
                device=device,
                bank=bank,
                hyper_parameters={"model.backbone": config.model.backbone},
            ):
                report = kept.report
                if report is None:
                    console.say(f"Going on after epoch {kept.epoch}, best {task.metric} {kept.best_value:.4f}")
                    continue
                if (dead := report.val.dead_labels) and dead != told:
                    console.say(f"epoch {report.epoch:>3}  {dead.note}")
                    told = dead
                mark = " *" if report.best_state is not None else ""
                console.say(
                    f"epoch {report.epoch:>3}  loss {report.train['loss']:.4f}  {task.metric} {report.value:.4f}"
                    f"{mark}  {sum(report.seconds.values()):.1f} s, {report.images_per_s:,.0f} images/s"
                )
            remove_checkpoints(folder, "student")
    except BlockingIOError:
        raise InputError(f"--out {shown(folder)}: another process trains there") from None
    except TrainingFailed as failure:
        console.say(f"Training failed: {failure}")
        return 1
    best = f"{kept.best_value:.4f} at epoch {kept.summary.best_epoch}"
    console.say(f"Best {task.metric} {best}, saved in {shown(folder)}")
    return 0
