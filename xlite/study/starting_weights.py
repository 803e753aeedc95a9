"""Which weights a study's models start from: looked for when it begins, and kept when it continues."""

from collections.abc import Mapping, Sequence
from typing import Any

from xlite.config import RunConfig
from xlite.device import device_kind
from xlite.ledger.manifest import StudyManifest
from xlite.models.origins import Origins, find_origins, from_json
from xlite.study.options import Study
from xlite.study.space import SearchSpace

WEIGHTS = "weights"
"""Key of study.json's settings under which origins are recorded; studies of earlier versions lack it."""


def study_origins(study: Study, configs: Sequence[RunConfig]) -> Origins | None:
    """What the models of these configurations and the default teacher start from; None if the study never recorded it.

    Raises:
        InputError: weights that are needed cannot be had, or are not those that the study began with.
    """
    options = study.options
    models = [config.model for config in configs]
    if any(config.distill.needs_teacher for config in configs) and not options.teacher_files:
        models.append(study.teacher_config().model)
    stored = StudyManifest.read(options.folder)
    if stored is not None and WEIGHTS not in stored.settings:
        find_origins(models, pretrained=options.pretrained, on_gpu=True)
        return None
    known = recorded_origins(stored) if stored is not None else None
    return find_origins(models, pretrained=options.pretrained, on_gpu=device_kind() == "cuda", known=known)


def recorded_origins(stored: StudyManifest) -> Origins | None:
    """What a study that is there started from; None if it never recorded it.

    Raises:
        InputError: the record is damaged.
    """
    return from_json(stored.settings[WEIGHTS], where=stored.file) if WEIGHTS in stored.settings else None


def with_random_starts(space: SearchSpace, study: Study) -> SearchSpace:
    """`space`, whose proposals say `model.pretrained` false where published weights cannot be had."""
    origins, base = study.origins, study.base.model
    if origins is None or all(origins.values()):
        return space

    def change(chosen: Mapping[str, Any]) -> dict[str, Any]:
        pretrained = chosen.get("model.pretrained", base.pretrained)
        backbone = chosen.get("model.backbone", base.backbone)
        return {**chosen, "model.pretrained": pretrained and origins.get(backbone, ...) is not None}

    return space.changed(change)
