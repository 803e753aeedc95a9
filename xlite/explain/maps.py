"""Explanations of one picture, slice stack or scan: a map for each label above its threshold, or asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from xlite.data.preprocess import ModelInput
from xlite.errors import InputError
from xlite.explain.gradients import class_activations, enlarged, line_saliency, slice_weights
from xlite.package.sources import Source, model_inputs
from xlite.predictor import Predictor

NO_THRESHOLD = 0.5
"""Of labels of a model without thresholds, i.e. one that was not promoted."""
_EVEN = 1e-4
"""A map whose values differ by less than this share of the greatest is the same everywhere but for rounding."""


@dataclass(frozen=True)
class Explanation:
    """Where a model sees one label in one source.

    Attributes:
        label: its name.
        probability: as `Predictor.predict` gives it; of scan lines the highest of `lines`.
        threshold: of the label; None for classes, of which the most probable one counts.
        pixels: the model's input: (S, S) or (S, S, C) of an image, (T, S, S, C) of slices; of a scan all its lines,
            (H, P) or (H, P, C).
        map: float32 in [0, 1] over `pixels` without channels: 0 nothing speaks for the label there, 1 is the place that
            speaks most for it in this source. None where there is none to draw, and `note` says why.
        peak: (row, column) in `pixels` of the middle of the strongest cell of the feature map, or point of a line;
            of slices with the slice before them, () without a map.
        cells: rows and columns of the feature map, which is what the map was enlarged from.
        note: why there is no map, or "".
        weights: of slices: the share of each one in the stack's features, the same for all stacks.
        lines: of a scan: those that are explained, i.e. above the threshold or of this class.
    """

    label: str
    probability: float
    threshold: float | None
    pixels: np.ndarray
    map: np.ndarray | None
    peak: tuple[int, ...] = ()
    cells: tuple[int, int] = (0, 0)
    note: str = ""
    weights: tuple[float, ...] = ()
    lines: tuple[int, ...] = ()


def explain(
    predictor: Predictor,
    source: Source,
    labels: Sequence[str] | None = None,
    *,
    top: int | None = None,
    auxiliary: Sequence[int] = (),
) -> list[Explanation]:
    """Explain the labels that are above their thresholds, of classes the most probable one; the surest first.

    A class activation map of the label's logit, of an ensemble the members' mean; along scan lines gradient times
    input; see `gradients`.

    Args:
        source, auxiliary: as of `Predictor.predict`.
        labels: explain these instead, whatever their probabilities, in this order.
        top: explain so many of the most probable labels instead.

    Returns:
        [] if no label is above its threshold.

    Raises:
        InputError: a label that the model does not have, or as `Predictor.predict`.
    """
    check_labels(predictor.labels, labels)
    inputs = model_inputs(predictor.preprocess, source, auxiliary, predictor.auxiliary_max)
    answers = predictor.answers(inputs)
    if predictor.preprocess.input_spec.layout == "lines":
        return _of_lines(predictor, inputs, answers, labels, top)
    (one,), (row,) = inputs, answers
    chosen = _chosen(row[None], _decided(row[None], predictor), predictor.labels, labels, top)
    if not chosen:
        return []
    maps = class_activations(predictor, one, chosen)
    return [_of_image(predictor, one, row, label, raw) for label, raw in zip(chosen, maps, strict=True)]


def check_labels(known: Sequence[str], labels: Sequence[str] | None) -> None:
    """Raise InputError if one of `labels` is not among those of the model."""
    for label in labels or ():
        if label not in known:
            raise InputError(f"no label {label!r}; the model has {', '.join(known)}")


def threshold_of(predictor: Predictor, label: str) -> float | None:
    """The label's threshold; None for classes."""
    if predictor.target_spec.answers_are == "classes":
        return None
    return float(predictor.thresholds.get(label, NO_THRESHOLD))


def _decided(answers: np.ndarray, predictor: Predictor) -> np.ndarray:
    """(N, L) bool: whether each label counts as present."""
    limits = [threshold_of(predictor, label) for label in predictor.labels]
    if None in limits:
        return np.eye(len(limits), dtype=bool)[answers.argmax(axis=-1)]
    return np.asarray(answers >= np.array(limits, dtype=np.float64))


def _chosen(
    answers: np.ndarray, decided: np.ndarray, known: Sequence[str], labels: Sequence[str] | None, top: int | None
) -> list[int]:
    """Numbers of the labels to explain, from (N, L) answers and decisions."""
    if labels is not None:
        return [known.index(label) for label in labels]
    highest = answers.max(axis=0)
    order = [int(label) for label in np.argsort(-highest, kind="stable")]
    return order[:top] if top is not None else [label for label in order if decided[:, label].any()]


def _of_image(predictor: Predictor, one: ModelInput, row: np.ndarray, label: int, raw: np.ndarray) -> Explanation:
    name = predictor.labels[label]
    weights: tuple[float, ...] = ()
    if predictor.preprocess.input_spec.layout == "slices":
        weights = tuple(np.mean([slice_weights(model) for model in predictor.models], axis=0).tolist())
    threshold = threshold_of(predictor, name)
    found = Explanation(name, float(row[label]), threshold, one.pixels, None, cells=raw.shape[-2:], weights=weights)
    return _with_map(found, raw, predictor.preprocess.input_spec.image_size)


def _of_lines(
    predictor: Predictor,
    windows: Sequence[ModelInput],
    answers: np.ndarray,
    labels: Sequence[str] | None,
    top: int | None,
) -> list[Explanation]:
    """A map over the whole scan for each label: what speaks for it in all lines that have it together."""
    parts = [slice(0, len(one.pixels)) if one.parts is None else one.parts for one in windows]
    ends = np.cumsum([0, *(part.stop - part.start for part in parts)]).tolist()
    starts = [end - part.start for end, part in zip(ends, parts, strict=False)]  # a window may overlap the last one
    size = predictor.preprocess.input_spec.image_size
    probs = np.concatenate([row[part] for row, part in zip(answers, parts, strict=True)])
    pixels = np.concatenate([one.pixels[part] for one, part in zip(windows, parts, strict=True)])
    decided, found = _decided(probs, predictor), []
    for label in _chosen(probs, decided, predictor.labels, labels, top):
        lines = np.flatnonzero(decided[:, label])
        lines = lines if len(lines) else np.array([probs[:, label].argmax()])
        raw = np.zeros(pixels.shape[:2], np.float32)
        for one, start, (first, end) in zip(windows, starts, pairwise(ends), strict=True):
            if len(own := lines[(lines >= first) & (lines < end)] - start):
                saliency = line_saliency(predictor, one, label, own.tolist())[: len(raw) - start]
                raw[start : start + len(saliency)] += saliency
        name = predictor.labels[label]
        highest, threshold = float(probs[lines, label].max()), threshold_of(predictor, name)
        one_label = Explanation(
            name, highest, threshold, pixels, None, cells=(len(probs), size), lines=tuple(lines.tolist())
        )
        found.append(_with_map(one_label, raw, None))
    return found


def _with_map(found: Explanation, raw: np.ndarray, size: int | None) -> Explanation:
    """`found` with the map of signed contributions (..., h, w), enlarged to `size` if given; or with a note."""
    if not np.isfinite(raw).all():
        return replace(found, note="no map: the model computes NaN or infinities here")
    if raw.max() <= 0:
        return replace(found, note="no map: nothing in the picture speaks for this label")
    if raw.max() - raw.min() <= _EVEN * np.abs(raw).max():
        return replace(found, note=f"no map: it is the same everywhere ({raw.shape[-2]} x {raw.shape[-1]} cells)")
    evidence = raw.clip(0).astype(np.float32)
    peak = tuple(int(at) for at in np.unravel_index(evidence.argmax(), evidence.shape))
    if size is None:
        return replace(found, map=evidence / evidence.max(), peak=peak)
    middle = [int((at + 0.5) * size / cells) for at, cells in zip(peak[-2:], raw.shape[-2:], strict=True)]
    large = enlarged(evidence, size)
    return replace(found, map=large / large.max(), peak=(*peak[:-2], *middle))
