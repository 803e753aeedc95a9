"""The worst mistakes of each label as one picture: its highest-scored negatives and its lowest-scored positives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.data.example_sheet import picture_of
from xlite.data.input_spec import InputSpec
from xlite.evaluate.subgroups import JudgedRows
from xlite.storage.files import atomic_write

NUM_EACH = 4
MAX_LABELS = 20
_NAME_CHARACTERS = 28


@dataclass(frozen=True)
class Case:
    """An example to show.

    Attributes:
        row: its place among the judged examples; line: which of its lines, None without lines.
        probability: of the label.
        wrong: whether the decision at the threshold is wrong.
    """

    row: int
    line: int | None
    probability: float
    wrong: bool


@dataclass(frozen=True)
class LabelCases:
    """A label's negatives from the highest score down, and positives from the lowest up; at most NUM_EACH each."""

    label: str
    negatives: tuple[Case, ...]
    positives: tuple[Case, ...]

    @property
    def num_wrong(self) -> int:
        """How many of them are decided wrongly."""
        return sum(case.wrong for case in (*self.negatives, *self.positives))


def worst_cases(rows: JudgedRows) -> list[LabelCases]:
    """Of each label with known examples; of an example with several lines its worst one counts."""
    out = []
    for place, label in enumerate(rows.labels):
        scores, decided, targets = (array[..., place] for array in (rows.answers, rows.decisions, rows.targets))
        negatives = _cases(np.where(targets == 0, scores, -np.inf), scores, decided)
        positives = _cases(np.where(targets == 1, -scores, -np.inf), scores, ~decided)
        if negatives or positives:
            out.append(LabelCases(label, negatives, positives))
    return out


def _cases(badness: np.ndarray, scores: np.ndarray, wrong: np.ndarray) -> tuple[Case, ...]:
    has_lines = badness.ndim > 1
    lines = badness.argmax(axis=1) if has_lines else np.zeros(len(badness), dtype=int)
    by_row, score, is_wrong = (
        array[np.arange(len(array)), lines] if has_lines else array for array in (badness, scores, wrong)
    )
    order = np.argsort(-by_row, kind="stable")[:NUM_EACH].tolist()
    return tuple(
        Case(row, int(lines[row]) if has_lines else None, float(score[row]), bool(is_wrong[row]))
        for row in order
        if np.isfinite(by_row[row])
    )


def draw_mistakes(
    path: Path, found: Sequence[LabelCases], pixels: np.ndarray, rows: np.ndarray, spec: InputSpec
) -> None:
    """Write the sheet as PNG; captions hold probability and truth, no ids. A red frame is a wrong decision.

    Shown are the labels with the most wrong decisions, MAX_LABELS at most, in their order.

    Args:
        pixels: the cached inputs; `rows` (N,) are the judged examples' places there.
    """
    from matplotlib.figure import Figure

    worst = sorted(range(len(found)), key=lambda place: -found[place].num_wrong)[:MAX_LABELS]
    shown = [found[place] for place in sorted(worst)]
    width, height = 0.5 + 1.62 * 2 * NUM_EACH, 0.6 + 1.85 * len(shown)  # inches
    figure = Figure(figsize=(width, height))  # a constrained layout of so many panels takes seconds
    figure.subplots_adjust(0.45 / width, 0.1 / height, 1 - 0.1 / width, 1 - 0.6 / height, wspace=0.05, hspace=0.22)
    figure.suptitle(
        "Highest-scored negatives (left) and lowest-scored positives (right); red frame: decided wrongly",
        fontsize=11,
        y=1 - 0.12 / height,
        va="top",
    )
    ratios = [*[1.0] * NUM_EACH, 0.12, *[1.0] * NUM_EACH]
    panels = figure.subplots(len(shown), len(ratios), squeeze=False, width_ratios=ratios)
    for line, cases in zip(panels, shown, strict=True):
        for panel in line:
            panel.set(xticks=[], yticks=[])
            panel.axis("off")
        for start, side, truth in ((0, cases.negatives, "no"), (NUM_EACH + 1, cases.positives, "yes")):
            for panel, case in zip(line[start:], side, strict=False):
                panel.axis("on")
                picture = picture_of(np.asarray(pixels[rows[case.row]]), spec)
                if spec.layout == "slices" and picture.ndim > 2:
                    picture = picture[..., 0]  # its channels are intensity windows, no colours; the first is the widest
                panel.imshow(
                    picture, cmap="gray", vmin=0, vmax=255, aspect="auto" if case.line is not None else "equal"
                )
                if case.line is not None:
                    panel.plot([-0.5, picture.shape[1] - 0.5], [case.line] * 2, ":", color="tab:red", linewidth=1)
                where = f", line {case.line}" if case.line is not None else ""
                panel.set_title(f"p {case.probability:.3f}, truth {truth}{where}", fontsize=7.5)
                for spine in panel.spines.values():
                    spine.set(color="tab:red" if case.wrong else "gray", linewidth=2.5 if case.wrong else 0.8)
        name = cases.label if len(cases.label) <= _NAME_CHARACTERS else cases.label[: _NAME_CHARACTERS - 1] + "…"
        line[0].text(
            -0.12,
            0.5,
            name.replace("$", r"\$"),
            rotation=90,
            ha="right",
            va="center",
            transform=line[0].transAxes,
            fontsize=9,
        )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
