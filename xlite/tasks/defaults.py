"""A task's defaults resolved into the configurations of a study and of its teacher."""

from collections.abc import Mapping
from typing import Any

from xlite.config import RunConfig, flatten, shorten_warmup
from xlite.cores import available_cpus
from xlite.tasks.task import Task


def base_config(
    task: Task, device_kind: str, *, max_epochs: int, seed: int, threads: int, settings: Mapping[str, Any]
) -> RunConfig:
    """The defaults of the task and its targets, the study's own values and `--set`, in this order.

    Raises:
        InputError: a setting is unknown or out of range, or its loss is for other targets.
    """
    targets = task.declared_target_spec
    loss = {} if targets is None else {"loss.name": targets.losses[0]}
    defaults = shorten_warmup({**loss, **task.defaults[device_kind].config}, epochs=max_epochs)
    own = {"train.epochs": max_epochs, "train.seed": seed, "train.threads": threads}
    config = RunConfig().override({**own, **defaults}, source=f"task {task.name}")
    config = config.override({**own, **settings}, source="--set")
    if targets is not None:
        targets.check_loss(config.loss.name)
    return config


def teacher_config(task: Task, base: RunConfig, device_kind: str, *, epochs: int) -> RunConfig:
    """The default teacher's configuration: on the study's data and seed, with all cores of the machine."""
    # all four: what `--set` gives the students must not make another teacher
    own: dict[str, Any] = {"distill.alpha": 0.0, "distill.feature_weight": 0.0}
    own |= {"distill.loss": "kl", "distill.alpha_schedule": "constant"}
    own |= {"train.threads": available_cpus(), "train.epochs": epochs}
    own |= task.defaults[device_kind].teacher
    own = {**shorten_warmup(flatten(base), epochs=epochs), **shorten_warmup(own, epochs=epochs)}
    return base.override(own, source=f"default teacher of {task.name}")
