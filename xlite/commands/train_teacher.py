"""A teacher of one's own: any backbone, trained without distillation on the whole training part."""

import argparse

from xlite.commands import cli
from xlite.commands.options import add_data_options, add_set_option, home, open_configured, settings, shown, tell_unread
from xlite.commands.starting_weights import add_pretrained_option, find_start, run_defaults
from xlite.console import Console
from xlite.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Options of `xlite teacher`."""
    out = cli.parser("Train a teacher; give its file to `xlite tune` with --teacher (several are averaged).")
    add_data_options(out)
    out.add_argument("--backbone", metavar="NAME", help="any timm model (default: the task's for this device)")
    out.add_argument("--epochs", type=cli.positive_int, metavar="N", help="budget (default: the task's)")
    out.add_argument(
        "--out",
        type=cli.output_dir,
        metavar="DIR",
        help="where it is saved (default: data/teachers/<backbone>-<time>)",
    )
    add_pretrained_option(out)
    add_set_option(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data, train, save `teacher.safetensors` and `teacher.json`."""
    from xlite.config import RunConfig
    from xlite.cores import available_cpus
    from xlite.models.origins import started
    from xlite.storage.folders import check_folder
    from xlite.tasks import find_task
    from xlite.tasks.defaults import base_config, pretrained_keys, teacher_config
    from xlite.tasks.task import Task
    from xlite.train.resumable import EpochResult
    from xlite.train.teacher import train_teacher

    console = Console()
    if arguments.out is not None:
        check_folder(arguments.out, "name another with --out")
    chosen = settings(arguments, epochs="--epochs", seed="--seed")
    if arguments.backbone is not None:
        if chosen.get("model.backbone", arguments.backbone) != arguments.backbone:
            raise InputError("--set model.backbone and --backbone differ; leave one out")
        chosen["model.backbone"] = arguments.backbone
    own_start = pretrained_keys(arguments.pretrained, chosen)
    kind = run_defaults(arguments, find_task(arguments.task), console, backbone=chosen.get("model.backbone"))
    epochs = arguments.epochs or find_task(arguments.task).defaults[kind].budget.teacher_epochs

    def configure(task: Task) -> RunConfig:
        base = base_config(task, kind, max_epochs=epochs, seed=arguments.seed, threads=available_cpus(), settings={})
        return teacher_config(task, base, kind, epochs=epochs).override({**chosen, **own_start}, source="--set")

    origins = find_start(configure(find_task(arguments.task)), arguments, console)
    prepared, config = open_configured(arguments, console, configure)
    config = started(config, origins)
    task = prepared.task
    tell_unread(chosen, config, task, console)
    backbone = config.model.backbone
    folder = arguments.out or home() / "data" / "teachers" / f"{backbone.replace('/', '_')}-{cli.default_study_name()}"

    def on_epoch(kept: EpochResult) -> None:
        if kept.report is None:
            console.say(f"Resuming after epoch {kept.epoch}, best {task.metric} {kept.best_value:.4f}")
            return
        loss = kept.report.train["loss"]
        console.say(f"epoch {kept.epoch:>3}  loss {loss:.4f}  {task.metric} {kept.report.value:.4f}")

    trained = train_teacher(config, task, prepared.full, folder=folder, on_epoch=on_epoch, origins=origins)
    console.say(
        f"Teacher {backbone}: {task.metric} {trained.value:.4f} (epoch {trained.epoch}), in {shown(trained.file)}"
    )
    return 0
