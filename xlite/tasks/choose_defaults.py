"""Which of a task's defaults a run follows: those of the device, or those for published weights where there are any."""

from xlite.config import Pretrained
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
