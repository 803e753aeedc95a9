"""The section on where a promoted model looks: maps over validation images, drawn by `xlite.explain`."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from xlite.errors import InputError
from xlite.html_report.facts import Package
from xlite.html_report.parts import Picture, Pictures, Section
from xlite.html_report.pictures import as_picture, with_label

if TYPE_CHECKING:
    from xlite.tasks.prepare import Prepared

_MAX_LABELS = 4
_WIDTH_PX, _WIDE_PX = 340, 1180


def looking_section(package: Package, prepared: "Prepared", *, seed: int = 0) -> Section:
    """One validation image that has the label, for each of the labels with the most positives there."""
    from xlite.explain.maps import explain
    from xlite.explain.overlay import overlay
    from xlite.predictor import load

    place, title = "looking" + package.name, "Where the model looks" + package.trial
    try:
        predictor = load(package.folder, target_spec=prepared.task.target_spec)
    except InputError as error:
        return Section(place, title, (f"The model cannot be opened: {error}.",))
    dataset, pictures, says = prepared.full, [], []
    rng, positions = np.random.default_rng(seed), dataset.part("val")
    having = {number: with_label(dataset, positions, number) for number in range(len(dataset.labels))}
    most = sorted((number for number in having if len(having[number])), key=lambda number: -len(having[number]))
    for number in most[:_MAX_LABELS]:
        label, position = dataset.labels[number], int(rng.choice(having[number]))
        beside = dataset.auxiliary_of(np.array([position]))
        auxiliary = () if beside is None else tuple(beside[0].tolist())
        try:
            (found,) = explain(predictor, prepared.table.items[position], [label], auxiliary=auxiliary)
        except (InputError, OSError):
            says.append(f"{label}: the raw file of its example cannot be read.")
            continue
        if found.note:
            says.append(f"{label}: {found.note}.")
        told = f"{label}, which this validation image has: probability {found.probability:.2f}"
        limit = "" if found.threshold is None else f", threshold {found.threshold:.2f}"
        pictures.append(_picture(overlay(found), told + limit))
    about = "What speaks for a label in one validation image that has it, with the model's answer below."
    kind = "Gradient times input" if dataset.input_spec.layout == "lines" else "Class activation maps"
    blocks = [Pictures(kind, tuple(pictures))] if pictures else []
    return Section(place, title, (about, *says), blocks)


def _picture(png: bytes, says: str) -> Picture:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    wide = image.shape[1] > 2 * image.shape[0]
    return as_picture(image, says, side_px=_WIDE_PX if wide else _WIDTH_PX)
