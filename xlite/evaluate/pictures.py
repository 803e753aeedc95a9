"""The reliability curves of an evaluation, those of the study's test part behind them, as PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlite.storage.files import atomic_write

MAX_LABELS = 20
_COLUMNS = 5


def draw_reliability(path: Path, here: Mapping[str, Sequence[Mapping[str, float]]], study: Mapping[str, Any]) -> None:
    """A panel for each label, the first MAX_LABELS."""
    from matplotlib.figure import Figure

    labels = list(here)[:MAX_LABELS]
    columns = min(_COLUMNS, len(labels))
    height = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(2.9 * columns, 2.8 * height + 0.5), layout="constrained")
    panels = iter(figure.subplots(height, columns, squeeze=False).flat)
    for label, panel in zip(labels, panels, strict=False):
        curves = [("the study's test part", study.get(label, ()), "silver"), ("this data", here[label], "tab:blue")]
        highest = max((row[key] for _, curve, _ in curves for row in curve for key in ("mean_predicted", "observed")))
        end = min(1.0, max(0.05, 1.08 * highest))
        panel.plot([0, end], [0, end], "--", color="gray", linewidth=0.8)
        for name, curve, colour in curves:
            panel.plot(
                [row["mean_predicted"] for row in curve],
                [row["observed"] for row in curve],
                *("o-",),
                color=colour,
                markersize=3.5,
                linewidth=1.2,
                label=name,
            )
        panel.set(xlim=(0, end), ylim=(0, end))
        panel.set_title(label.replace("$", r"\$"), fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in panels:
        panel.axis("off")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    figure.supxlabel("predicted probability (bins of equal mass)", fontsize=9)
    figure.supylabel("share observed", fontsize=9)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
