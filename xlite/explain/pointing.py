"""The pointing game (Zhang et al., arXiv 1608.00507): how often a map's peak lies where the label is known to be."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from xlite.data.sources.csv_text import csv_rows
from xlite.errors import InputError
from xlite.explain.maps import Explanation

BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
"""Of NIH's BBox_List_2017.csv; x and y are the left upper corner."""
NIH_PX = 1024
"""Side of the pictures that NIH's boxes were drawn on; a smaller copy is the same picture."""
_NIH_NAMES = {"Infiltrate": "Infiltration"}


@dataclass(frozen=True)
class Box:
    """A rectangle in shares of the picture's width and height, from 0 to 1."""

    left: float
    top: float
    width: float
    height: float

    def holds(self, found: Explanation) -> bool:
        """Whether the map's peak lies in it; a source without a map points nowhere."""
        if found.map is None:
            return False
        y, x = ((at + 0.5) / size for at, size in zip(found.peak[-2:], found.map.shape[-2:], strict=True))
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height


@dataclass(frozen=True)
class Pointed:
    """One map: whether its peak hit, and the share of the picture's area that counts as a hit."""

    label: str
    hit: bool
    chance: float


@dataclass(frozen=True)
class PointingScore:
    """Of one label.

    Attributes:
        num, hits: maps, and those that hit.
        low, high: exact 95% interval (Clopper and Pearson) of the share of hits.
        chance: what a point anywhere in the pictures would hit.
    """

    label: str
    num: int
    hits: int
    low: float
    high: float
    chance: float

    @property
    def verdict(self) -> str:
        """Where chance lies against the interval."""
        return "above chance" if self.low > self.chance else "below chance" if self.high < self.chance else "as chance"


def scores(pointed: Iterable[Pointed]) -> list[PointingScore]:
    """By label, in the order in which they come."""
    by_label: dict[str, list[Pointed]] = defaultdict(list)
    for one in pointed:
        by_label[one.label].append(one)
    found = []
    for label, some in by_label.items():
        hits = sum(one.hit for one in some)
        interval = binomtest(hits, len(some)).proportion_ci(0.95)
        chance = sum(one.chance for one in some) / len(some)
        found.append(PointingScore(label, len(some), hits, float(interval.low), float(interval.high), chance))
    return found


def read_boxes(path: Path, labels: Sequence[str]) -> dict[str, dict[str, list[Box]]]:
    """Image name without suffix -> label -> boxes, from NIH's list (.csv or .csv.gz), of the labels that a model has.

    Raises:
        InputError: no such file, not this table, or a row without four numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    rows = csv_rows(path)
    if tuple(rows[0][: len(BOX_COLUMNS)]) != BOX_COLUMNS:
        raise InputError(f"{path}: not NIH's list of boxes; its columns are {', '.join(BOX_COLUMNS)}")
    found: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows[1:], start=2):
        try:
            name, label, *corners = row[: len(BOX_COLUMNS)]
            left, top, width, height = (float(value) / NIH_PX for value in corners)
        except ValueError:
            raise InputError(f"{path} row {number}: write a name, a label and four numbers") from None
        if (label := _NIH_NAMES.get(label, label)) in labels:
            found[Path(name).stem][label].append(Box(left, top, width, height))
    return found


def point(found: Iterable[Explanation], boxes: Mapping[str, Sequence[Box]]) -> list[Pointed]:
    """The game for each explanation of one image that has boxes of its label; any of several boxes may be hit."""
    return [
        Pointed(one.label, any(box.holds(one) for box in own), min(1.0, sum(box.width * box.height for box in own)))
        for one in found
        if (own := boxes.get(one.label))
    ]
