"""A task's defaults resolved into the configurations of a study and of its teacher."""

from collections.abc import Mapping
from typing import Any

from xlite.config import RunConfig, flatten, shorten_warmup
from xlite.cores import available_cpus
from xlite.models.origins import Pretrained
from xlite.models.weight_sources import has_published
from xlite.tasks.task import Task


def choose_defaults(task: Task, device_kind: str, *, pretrained: Pretrained, backbone: str | None = None) -> str | None:
    """Which of the task's defaults a new run on the user's own data follows; None: the device's, for lack of weights.

    Args:
        backbone: the one that is trained, if that is known; else all that the defaults name need weights.
    """
    key = f"{device_kind}_pretrained"
    if key not in task.defaults or pretrained == "no":
        return device_kind
    own = task.defaults[key]
    backbones = {backbone} if backbone else {own.config["model.backbone"], own.teacher["model.backbone"]}
    return key if pretrained == "yes" or all(map(has_published, sorted(backbones))) else None


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

    What `--set` gives the students of distillation, and their `model.weights`, are none of its own.
    """
    own: dict[str, Any] = {"distill.alpha": 0.0, "distill.feature_weight": 0.0}
    own |= {"distill.loss": "kl", "distill.alpha_schedule": "constant", "model.weights": None}
    own |= {"train.threads": available_cpus(), "train.epochs": epochs}
    own |= {**task.defaults[kind].teacher, **pretrained_keys(pretrained, {})}
    own = {**shorten_warmup(flatten(base), epochs=epochs), **shorten_warmup(own, epochs=epochs)}
    return base.override(own, source=f"default teacher of {task.name}")
