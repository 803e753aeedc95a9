"""A report's sections as Markdown, and what they are drawn from: a study's rows and what goes with them."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from xlite.config import is_taught
from xlite.ledger import Objectives, TrialRecord

NOT_ENOUGH = "not enough trials"


@dataclass(frozen=True)
class StudyRows:
    """What a report reads.

    Attributes:
        name: the study's.
        metric: what `value` is.
        rows: the search's, in any state.
        finals: the promotions.
        base: the study's flat configuration, below each row's own keys; {} where it is not known.
        teacher: its name; "" where it is not known.
        teacher_value: its validation metric, where known.
        gpu_share: the share of one GPU that a trial of the search held, where known.
        objectives: the study's, if there are several.
    """

    name: str
    metric: str
    rows: tuple[TrialRecord, ...]
    finals: tuple[TrialRecord, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    teacher: str = ""
    teacher_value: float | None = None
    gpu_share: float | None = None
    objectives: Objectives = ()

    @property
    def complete(self) -> list[TrialRecord]:
        """The rows whose values were reached under the full budget: the only ones that are averaged."""
        return [row for row in self.rows if row.state == "complete" and row.value is not None]

    def config(self, row: TrialRecord) -> dict[str, Any]:
        """The row's whole flat configuration, as far as it is known."""
        return {**self.base, **row.overrides, **row.summary.config}

    def is_taught(self, row: TrialRecord) -> bool | None:
        """Whether a teacher had any weight, None where the row does not say."""
        return is_taught(self.config(row))


@dataclass(frozen=True)
class Section:
    """One question: its title, the answer in one line, what it rests on in Markdown, and a picture's file name."""

    title: str
    conclusion: str
    body: tuple[str, ...] = ()
    picture: str = ""

    def markdown(self) -> str:
        """The section as Markdown, blank lines between its parts; what a study wrote into it runs nothing."""
        parts = [f"## {self.title}", f"**{' '.join(self.conclusion.split())}**", *self.body]
        parts = [_inert(part) for part in parts]
        if self.picture:
            parts.append(f"![{self.title}]({self.picture})")
        return "\n\n".join(parts)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; each cell is one line, and bars in it are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _inert(text: str) -> str:
    """Markdown without HTML, links and pictures: names and reasons come from foreign data and foreign studies."""
    return html.escape(text, quote=False).replace("](", "]\\(").replace("][", "]\\[")


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean and, of several, "±" and the standard deviation."""
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def counted(num: int, noun: str) -> str:
    """ "1 trial", "3 trials"."""
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def not_enough(have: int, need: int, noun: str = "complete trial") -> str:
    """The line that stands where a conclusion would."""
    return f"{NOT_ENOUGH}: {counted(have, noun)}, {need} needed"
