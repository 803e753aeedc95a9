"""A task's defaults resolved into the configurations of a study and of its teacher."""

from collections.abc import Mapping
from typing import Any

from xlite.config import Pretrained, RunConfig, flatten, shorten_warmup
from xlite.cores import available_cpus
from xlite.tasks.task import Task


def pretrained_keys(pretrained: Pretrained, settings: Mapping[str, Any]) -> dict[str, bool]:
    """What `--pretrained` and `--set` (dotted keys) fix of `model.pretrained`; empty: defaults and space decide."""
    if pretrained != "auto":
        return {"model.pretrained": pretrained == "yes"}
    return {"model.pretrained": False} if settings.get("model.weights") and "model.pretrained" not in settings else {}


def base_config(
    task: Task, kind: str, *, max_epochs: int, seed: int, threads: int, settings: Mapping[str, Any]
) -> RunConfig:
    """The defaults of the task and its targets, the study's own values and `--set`, in this order.

    Args:
        kind: which of the task's defaults.

    Raises:
        InputError: a setting is unknown or out of range, or its loss is for other targets.
    """
    targets = task.declared_target_spec
    loss = {} if targets is None else {"loss.name": targets.losses[0]}
    defaults = shorten_warmup({**loss, **task.defaults[kind].config}, epochs=max_epochs)
    own = {"train.epochs": max_epochs, "train.seed": seed, "train.threads": threads}
    config = RunConfig().override({**own, **defaults}, source=f"task {task.name}")
    config = config.override({**own, **settings}, source="--set")
    if targets is not None:
        targets.check_loss(config.loss.name)
    return config


def teacher_config(
    task: Task, base: RunConfig, kind: str, *, epochs: int, pretrained: Pretrained = "auto"
) -> RunConfig:
    """The default teacher's configuration: on the study's data and seed, with all cores of the machine.

    It takes neither the students' distillation settings nor their `model.weights` from `--set`.
    """
    own: dict[str, Any] = {"distill.alpha": 0.0, "model.weights": None}
    own |= {"train.threads": available_cpus(), "train.epochs": epochs}
    own |= {**task.defaults[kind].teacher, **pretrained_keys(pretrained, {})}
    own = {**shorten_warmup(flatten(base), epochs=epochs), **shorten_warmup(own, epochs=epochs)}
    return base.override(own, source=f"default teacher of {task.name}")
