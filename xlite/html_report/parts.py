"""What a report consists of, before any HTML: sections with tables, figures and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

BLUE, ORANGE, GREEN, RED, GREY = "#3b82c4", "#d97706", "#2a9d6f", "#d1495b", "#8a8f98"
LABEL_COLOURS = (BLUE, ORANGE, GREEN, RED, "#8b6fc0", "#a0703c", "#d06fb0", "#5aa9b8", "#9aa03a", GREY)


@dataclass(frozen=True)
class Number:
    """A table's cell that is sorted by its value."""

    value: float
    text: str


Cell = str | Number


def number(value: float | None, form: str = ".4f") -> Cell:
    """`value` as a cell, "" where there is none."""
    return "" if value is None or value != value else Number(float(value), format(value, form))


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: titles; the first column heads its rows.
        rows: a cell for each column.
        sortable: its headers are buttons.
        states: filtered by text and, where there are any, by these values of the column "state".
        half: half a page wide where there is room; so, too, below.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    states: tuple[str, ...] = ()
    half: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A chart that Plotly draws.

    Attributes:
        says: what it shows, in words; also for those who do not see it.
        traces, layout: Plotly's; colours of text and grid are the page's.
        min_width_px: below it the figure scrolls by itself.
    """

    title: str
    says: str
    traces: tuple[Mapping[str, Any], ...]
    layout: Mapping[str, Any]
    height_px: int = 380
    min_width_px: int = 0
    half: bool = False
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its size in CSS pixels, and what it shows."""

    uri: str
    width_px: int
    height_px: int
    says: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    half: bool = False
    kind: str = "pictures"


@dataclass(frozen=True)
class Lines:
    """Text to copy, such as commands."""

    title: str
    text: str
    half: bool = False
    kind: str = "lines"


Block = Table | Figure | Pictures | Lines


@dataclass(frozen=True)
class Answer:
    """A question, and what the study says to it."""

    question: str
    answer: str

    @property
    def sentence(self) -> str:
        """The answer with a capital; a name such as auc_macro keeps its own."""
        first = self.answer.split(maxsplit=1)[0] if self.answer.strip() else ""
        return self.answer[:1].upper() + self.answer[1:] if first.strip(":,").isalpha() else self.answer


@dataclass(frozen=True)
class Section:
    """A section: its address in the page, its title, paragraphs, and blocks below them."""

    id: str
    title: str
    says: tuple[str | Answer, ...]
    blocks: Sequence[Block] = ()


def plain(text: object) -> str:
    """A name from data or study as Plotly shows it literally; of itself it takes <b> and <a> for markup."""
    return escape(str(text), quote=False)


def upright(x: float, **line: Any) -> dict[str, Any]:
    """A line from top to bottom of a figure, one of its layout's shapes; `line` is Plotly's."""
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of a figure. With `standoff` the margin also holds its title, clear of long tick labels."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True, **more}
