"""What training reads of a configuration: equal canonical forms are one training under several names."""

from collections.abc import Iterable, Sequence

from xlite.config import RunConfig, flatten
from xlite.models.build import canonical_model
from xlite.tasks.target_spec import TargetSpec
from xlite.train.schedule import canonical_schedule


def canonical(config: RunConfig, target_spec: TargetSpec) -> RunConfig:
    """`config` with every key that a run does not read at its default, e.g. the temperature where alpha is 0.

    A canonical form need not be a valid configuration; it is for comparing.
    """
    optim = canonical_schedule(config.optim, can_freeze=config.model.has_backbone)
    read = {"model": canonical_model(config.model), "optim": optim}
    return target_spec.canonical(config).model_copy(update=read)


def unread_keys(keys: Iterable[str], configs: Sequence[RunConfig], target_spec: TargetSpec) -> list[str]:
    """Those of the dotted `keys`, which may be removed ones, that a run of none of these configurations reads."""
    pairs = [(flatten(config), flatten(canonical(config, target_spec))) for config in configs]
    return [key for key in keys if all(key not in read or values[key] != read[key] for values, read in pairs)]
