"""The built-in tasks by name, and `module:NAME` for your own."""

import importlib

from xlite.errors import InputError
from xlite.tasks.chestxray14 import CHESTXRAY14
from xlite.tasks.images import IMAGES
from xlite.tasks.lumbar_spine import LUMBAR_SPINE
from xlite.tasks.stm_scanlines import STM_SCANLINES
from xlite.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (CHESTXRAY14, LUMBAR_SPINE, STM_SCANLINES, IMAGES)}


def find_task(name: str) -> Task:
    """The task called `name`, or the Task that `module:NAME` points at.

    Raises:
        InputError: there is no such task, module or name, or it is not a Task.
    """
    if ":" not in name:
        if name not in TASKS:
            raise InputError(f"--task {name}: known tasks are {', '.join(TASKS)}; module:NAME takes one of your own")
        return TASKS[name]
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise InputError(f"--task {name}: {error}") from None
    if not isinstance(found, Task):
        raise InputError(f"--task {name}: {attribute} is a {type(found).__name__}, not an xlite.tasks.task.Task")
    return found
