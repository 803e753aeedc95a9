"""The pictures of a study's analysis, as PNG files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xlite.report.distillation import Sensitivity
from xlite.report.importance import Importances
from xlite.storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_sensitivity(path: Path, found: Sequence[Sensitivity], metric: str) -> None:
    """One panel a parameter: every trial a dot, every range its mean with the 95% interval where it has one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(found), 4.5), layout="constrained")
    for panel, sensitivity in zip(figure.subplots(1, len(found), squeeze=False).flat, found, strict=True):
        panel.plot(sensitivity.parameter, sensitivity.values, ".", color="silver", label="trials")
        centres = [one.centre for one in sensitivity.bins]
        means = [one.values.mean() for one in sensitivity.bins]
        panel.plot(centres, means, "o-", label="mean of a range")
        judged = [(at, one.estimate) for at, one in zip(centres, sensitivity.bins, strict=True) if one.estimate]
        panel.vlines(
            [at for at, _ in judged], [e.low for _, e in judged], [e.high for _, e in judged], label="95% interval"
        )
        if sensitivity.key.endswith("temperature"):
            panel.set_xscale("log", base=2)
        panel.set(xlabel=sensitivity.key, ylabel=metric)
        panel.legend()
    _save(figure, path)


def draw_importances(path: Path, found: Importances) -> None:
    """Bars with their intervals, and the line that chance stays below."""
    from matplotlib.figure import Figure

    ordered = found.parameters[::-1]
    figure = Figure(figsize=(8, 1.5 + 0.35 * len(ordered)), layout="constrained")
    panel = figure.subplots()
    names = [one.key for one in ordered]
    panel.barh(names, [one.share for one in ordered], color="tab:blue")
    panel.hlines(
        names, [one.low for one in ordered], [one.high for one in ordered], color="black", label="95% interval"
    )
    panel.axvline(found.chance, color="tab:red", linestyle="--", label="chance (95%)")
    panel.set(xlabel="share of importance", xlim=(0, 1))
    panel.legend(loc="lower right")
    _save(figure, path)


def draw_curves(path: Path, curves: Iterable[Sequence[float]], metric: str, teacher_value: float | None) -> None:
    """Validation by epoch of some trials, each one's best epoch marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    panel = figure.subplots()
    for curve in curves:
        panel.plot(range(1, len(curve) + 1), curve, color="tab:blue", alpha=0.4, linewidth=1)
        panel.plot(int(np.argmax(curve)) + 1, max(curve), "o", color="tab:blue", markersize=4)
    if teacher_value is not None:
        panel.axhline(teacher_value, color="tab:red", linestyle="--", label="teacher")
        panel.legend()
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set(xlabel="epoch", ylabel=f"validation {metric} (dots: best epoch)")
    _save(figure, path)


def _save(figure: "Figure", path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
