"""The labels of other data in a model's order, matched by name and never by place; what one side lacks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlite.errors import InputError

_NUM_NAMED = 8


@dataclass(frozen=True, eq=False)
class Matched:
    """Targets as a model's answers have them.

    Attributes:
        targets: (N, ..., L) float32 for the model's L labels; NaN is unknown.
        absent: the model's labels that the data lacks.
        unknown: the data's labels that the model lacks.
        notes: lines to say.
    """

    targets: np.ndarray
    absent: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


def match_labels(
    targets: np.ndarray, labels: Sequence[str], kind: str, model_labels: Sequence[str], model_kind: str
) -> Matched:
    """Bring (N, ..., K) targets of a data set into the order of a model's labels.

    Names match as they are written, or else but for case and punctuation ("Pleural Thickening", "pleural_thickening").
    An independent label that the data lacks is unknown in every row. A class that it lacks does not occur; a row of a
    class that the model lacks is unknown. Classes are labels to a model of independent labels.

    Args:
        kind, model_kind: of the targets, "multilabel", "multiclass", "ordinal" or one's own.

    Raises:
        InputError: no label in common, or kinds that do not fit.
    """
    as_labels = model_kind == "multilabel" and kind in ("multiclass", "ordinal")
    classes = {"multiclass", "ordinal"}
    if kind != model_kind and not as_labels and not {kind, model_kind} <= classes:
        raise InputError(
            f"the data has {kind} targets, the model answers {model_kind} ones: they do not compare; say --kind of "
            "--task images, or name the columns with --label-column"
        )
    pairs = _pairs(labels, model_labels)
    if not pairs:
        raise InputError(
            f"no label of the data ({_listed(labels)}) is one of the model's ({_listed(model_labels)}); rename them, "
            "or choose the columns with --label-column"
        )
    exclusive = model_kind != "multilabel" and model_kind in classes
    out = np.full((*targets.shape[:-1], len(model_labels)), np.nan, dtype=np.float32)
    if exclusive:
        out[:] = np.where(np.isnan(targets).any(axis=-1, keepdims=True), np.nan, 0)
    for own, of_model in pairs.items():
        out[..., of_model] = targets[..., own]
    absent = tuple(name for place, name in enumerate(model_labels) if place not in pairs.values())
    unknown = tuple(name for place, name in enumerate(labels) if place not in pairs)
    notes = []
    if renamed := [
        f"{labels[own]!r} is {model_labels[of]!r}" for own, of in pairs.items() if labels[own] != model_labels[of]
    ]:
        notes.append(f"Labels matched but for case and punctuation: {_listed(renamed)}")
    if as_labels:
        notes.append("The data has one class an image: each counts as a label, without the others")
    if absent:
        what = "classes that do not occur in the data" if exclusive else "labels that the data lacks, not judged"
        notes.append(f"{len(absent)} of the model's {what}: {_listed(absent)}")
    if unknown:
        notes.append(_unknown_note(targets, labels, unknown, exclusive))
    if exclusive:
        out[(out == 0).all(axis=-1)] = np.nan
    return Matched(out, absent, unknown, tuple(notes))


def _pairs(labels: Sequence[str], model_labels: Sequence[str]) -> dict[int, int]:
    """{place in the data: place in the model}; each side's label is used once."""
    exact = {own: model_labels.index(name) for own, name in enumerate(labels) if name in model_labels}
    folded = [_folded(name) for name in model_labels]
    own_folded = [_folded(name) for name in labels]
    for own, name in enumerate(own_folded):
        once = name and own_folded.count(name) == 1 == folded.count(name)
        if own not in exact and once and folded.index(name) not in exact.values():
            exact[own] = folded.index(name)
    return dict(sorted(exact.items()))


def _folded(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _unknown_note(targets: np.ndarray, labels: Sequence[str], unknown: Sequence[str], exclusive: bool) -> str:
    columns = [place for place, name in enumerate(labels) if name in unknown]
    if not exclusive:
        return f"Labels of the data that the model does not know, left out: {_listed(unknown)}"
    num = int((targets[..., columns] == 1).sum())
    return f"Classes of the data that the model does not know: {_listed(unknown)}; {num:,} of them are left out"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
