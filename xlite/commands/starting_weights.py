"""`--pretrained`: which defaults a run follows by it, and which weights it starts from."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.console import Console

if TYPE_CHECKING:
    from xlite.config import RunConfig
    from xlite.models.origins import Origins
    from xlite.tasks.task import Task


def add_pretrained_option(parser: "argparse._ActionsContainer") -> None:
    """--pretrained."""
    parser.add_argument(
        "--pretrained",
        choices=("auto", "yes", "no"),
        default="auto",
        help="start from published weights: yes: every model, or an error; no: none; auto: as space and defaults say, "
        "but on a CPU from random ones where there are none",
    )


def run_defaults(
    arguments: argparse.Namespace, task: "Task", console: Console | None, *, backbone: str | None = None
) -> str:
    """Which of the task's defaults a new run follows, by what `--data` and `--pretrained` say.

    Args:
        console: gets a line where those with pretrained weights would apply, but the weights cannot be had.
        backbone: the one that is trained, where that is known.

    Raises:
        InputError: there is a GPU, which would decide, and it cannot be used.
    """
    from xlite.device import device_kind
    from xlite.gpu.state import check_gpu
    from xlite.models.weight_sources import INSTALL
    from xlite.tasks.choose_defaults import choose_defaults

    check_gpu()
    kind, pretrained = device_kind(), vars(arguments).get("pretrained", "auto")
    if arguments.data is None:
        return kind
    chosen = choose_defaults(task, kind, pretrained=pretrained, backbone=backbone)
    if chosen is None and console is not None:
        console.say(f"No pretrained weights here ({INSTALL}): the defaults for random ones, smaller and weaker")
    return chosen or kind


def study_defaults(arguments: argparse.Namespace, task: "Task", folder: Path, console: Console) -> str:
    """Which of the task's defaults the study in `folder` follows: those it began with, the device's with `--space`.

    Raises:
        InputError: there is a GPU, and it cannot be used by the several processes of a study.
    """
    from xlite.device import device_kind
    from xlite.gpu.state import check_gpu
    from xlite.ledger import StudyManifest

    check_gpu(num_processes=2, through_mps="CUDA_MPS_PIPE_DIRECTORY" in os.environ)
    manifest = StudyManifest.of_study(folder)
    if manifest is None and arguments.space is None:
        return run_defaults(arguments, task, console)
    return (manifest.options.get("defaults") if manifest else None) or device_kind()


def find_start(config: "RunConfig", arguments: argparse.Namespace, console: Console) -> "Origins":
    """The weights that a single run starts from, found before its data is read; a line says which.

    Raises:
        InputError: they cannot be had, and `--pretrained` or the device does not allow random ones.
    """
    from xlite.device import device_kind
    from xlite.models.origins import describe_origins, find_origins

    origins = find_origins([config.model], pretrained=arguments.pretrained, on_gpu=device_kind() == "cuda")
    for line in describe_origins(origins):
        console.say(line)
    return origins
