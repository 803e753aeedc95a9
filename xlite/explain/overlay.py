"""Explanations as PNG: the picture as the model sees it, and over it what speaks for each label, with its scale."""

import io
import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from xlite.explain.maps import Explanation
from xlite.storage.text import single_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

_PANEL_IN, _DPI = 3.2, 100
_SLICE_IN = 1.7
_MAX_COLUMNS = 4
_MAX_ALPHA = 0.7
_MOST_CHARACTERS = 44  # of a label or a source above a panel
_SCALE = "0: nothing speaks for it   1: strongest place in this picture"


def overlay(found: Explanation) -> bytes:
    """PNG of one explanation: the map over the picture, colour bar, label, probability and threshold.

    Without a map the picture alone, and why.
    """
    return sheet([found])


def sheet(found: Sequence[Explanation], title: str = "") -> bytes:
    """PNG of all explanations of one source, at least one; `title` is e.g. its file's name.

    Image: the picture as preprocessed, then an overlay for each label. Slices: a row of overlays a label, with each
    slice's weight. Scan: its lines, then an overlay a label, with marks beside the lines that are explained.
    """
    from matplotlib.figure import Figure

    first = found[0]
    if first.weights:
        num_rows, num_columns, size_in = len(found), len(first.pixels), _SLICE_IN
    else:
        num_columns = min(_MAX_COLUMNS, len(found) + (len(found) > 1))
        num_rows, size_in = math.ceil((len(found) + (len(found) > 1)) / num_columns), _PANEL_IN
    height = num_rows * (size_in + 0.55) + 0.8 + (0.3 if title else 0)
    figure = Figure(figsize=(max(num_columns * size_in, 4.6) + 0.2, height), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    if title:
        figure.suptitle(_text(title, keep_end=True), fontsize=10, parse_math=False)
    if first.weights:
        for row, one in zip(panels, found, strict=True):
            _draw_slices(row.tolist(), one)
    else:
        _draw_panels(panels.ravel().tolist(), found)
    _add_scale(figure, panels.ravel().tolist(), first)
    return _png(figure)


def _draw_panels(panels: "Sequence[Axes]", found: Sequence[Explanation]) -> None:
    places = iter(panels)
    if len(found) > 1:
        _draw(next(places), _shown(found[0].pixels), None, "as the model sees it")
    for one in found:
        panel = next(places)
        _draw(panel, _shown(one.pixels), one.map, _caption(one))
        if one.lines:
            marks = np.array(one.lines)
            left = -0.025 * one.pixels.shape[1]
            panel.plot(np.full(len(marks), left), marks, ">", color="tab:blue", markersize=3, clip_on=False)


def _draw_slices(panels: "Sequence[Axes]", one: Explanation) -> None:
    for number, panel in enumerate(panels):
        heading = f"slice {number + 1}, weight {one.weights[number]:.2f}"
        if number == 0:
            heading = f"{_caption(one)}\n{heading}"
        _draw(panel, one.pixels[number, ..., 0], None if one.map is None else one.map[number], heading)


def _draw(panel: "Axes", picture: np.ndarray, over: np.ndarray | None, heading: str) -> None:
    """Square: pictures are, and of scans this makes lines and points visible."""
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    panel.set_box_aspect(1)
    if over is not None:
        panel.imshow(over, cmap=_colours(), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    panel.set_title(heading, fontsize=8, loc="left", parse_math=False)


def _add_scale(figure: "Figure", panels: "list[Axes]", first: Explanation) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(0, 1), _colours())
    bar = figure.colorbar(scale, ax=panels, orientation="horizontal", fraction=0.05, aspect=40, shrink=0.9)
    bar.ax.set_facecolor("0.5")
    rows, columns = first.cells
    bar.set_label(_SCALE if first.lines else f"{_SCALE}\n(map of {rows} x {columns} cells, enlarged)", fontsize=7)
    bar.ax.tick_params(labelsize=7)


@cache
def _colours() -> "ListedColormap":
    """Transparent where nothing speaks for the label, so that the picture stays visible; opaque red to yellow above."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colours = colormaps["autumn"](np.linspace(0, 1, 256))
    colours[:, 3] = _MAX_ALPHA * np.linspace(0, 1, 256) ** 1.5
    return ListedColormap(colours)


def _caption(one: Explanation) -> str:
    probability = f"{'highest ' if one.lines else ''}probability {one.probability:.3f}"
    limit = "" if one.threshold is None else f" (threshold {one.threshold:.3f})"
    lines = f", lines: {len(one.lines)}" if one.lines else ""
    caption = f"{_text(one.label)}\n{probability}{limit}{lines}"
    return f"{caption}\n{one.note}" if one.note else caption


def _shown(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8; lines between their 1st and 99th percentile."""
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    low, high = np.percentile(values, [1, 99])
    return np.round(255 * ((values - low) / max(high - low, 1e-12)).clip(0, 1)).astype(np.uint8)


def _text(name: str, *, keep_end: bool = False) -> str:
    """A name on one line, shortened, characters that the font lacks as escapes."""
    name = single_line(name)
    if len(name) > _MOST_CHARACTERS:
        name = f"…{name[1 - _MOST_CHARACTERS :]}" if keep_end else f"{name[: _MOST_CHARACTERS - 1]}…"
    return "".join(one if ord(one) in _drawable() else one.encode("unicode_escape").decode() for one in name)


@cache
def _drawable() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    return frozenset(get_font(fontManager.findfont(FontProperties())).get_charmap())


def _png(figure: "Figure") -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI)
    return written.getvalue()
