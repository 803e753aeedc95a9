"""What was understood of a data set: understood.json, and what its pictures show, in lines and in a listing."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlite.data.held_out import HELD_OUT
from xlite.data.split import PARTS
from xlite.data.table import Table
from xlite.data.twins import Pictures
from xlite.storage.files import write_json, write_text
from xlite.storage.text import csv_text

NUM_NAMED = 3
"""Pairs of images that a line names; the listing has all."""


@dataclass(frozen=True, eq=False)
class PictureFindings:
    """What the N readable examples of a data set show; boolean arrays are (N,).

    Attributes:
        table, pictures: the examples.
        part: (N,) number of the part in `PARTS`, after them held-out rows; -1 for copies that are left out.
        near: sets of examples in several parts that look alike, see `nearly_identical`.
        alike: such sets of several groups (patients), in whatever parts.
        identical: another example shows the same picture.
        other_targets: the same with other targets.
        crossing: examples whose picture is in several parts.
    """

    table: Table
    pictures: Pictures
    part: np.ndarray
    near: list[np.ndarray]
    alike: list[np.ndarray]

    @property
    def identical(self) -> np.ndarray:
        return self.pictures.repeated

    @property
    def other_targets(self) -> np.ndarray:
        return self.pictures.with_other_targets(self.table.targets)

    @property
    def crossing(self) -> np.ndarray:
        return self.pictures.in_several_parts(self.part)

    @property
    def patients(self) -> np.ndarray:
        """(N,) number of each example's group."""
        return np.unique(self.table.groups, return_inverse=True)[1]

    @property
    def patients_are_known(self) -> bool:
        """Whether any group has several examples; else two copies say nothing about patients."""
        return len(np.unique(self.table.groups)) < len(self.table)

    def counts(self) -> dict[str, int]:
        """Of examples, but for "pictures_of_identical", "with_other_targets", "..._of_several_groups", "near_sets"."""
        number = self.pictures.number
        return {
            "identical": int(self.identical.sum()),
            "pictures_of_identical": len(np.unique(number[self.identical])),
            "with_other_targets": len(np.unique(number[self.other_targets])),
            "left_out": int((self.part < 0).sum()),
            "in_several_parts": int(self.crossing.sum()),
            "near_sets": len(self.near),
            "pictures_of_several_groups": len(self._sets(self.pictures.in_several_parts(self.patients))),
            "near_sets_of_several_groups": len(self.alike),
            "constant": int(self.pictures.constant.sum()),
        }

    def lines(self, listing: Path, split_file: Path) -> list[str]:
        """Lines for the user, one for each kind of finding."""
        counts, ids, lines = self.counts(), self.table.ids, []
        if counts["identical"]:
            lines.append(f"Identical images: {self._identical(counts, split_file)}; listed in {listing}")
        if self.near:
            lines.append(
                f"Almost identical images in several parts: {len(self.near):,} sets (e.g. "
                f"{self._pairs(self.near, self.part)}); they are not moved; listed in {listing}"
            )
        if of_patients := self._of_patients(counts):
            lines.append(f"Images of several patients: {of_patients}; listed in {listing}")
        if counts["constant"]:
            example = ids[self.pictures.constant][0]
            lines.append(f"Images of a single value: {counts['constant']:,} (e.g. {example}); listed in {listing}")
        return lines

    def _identical(self, counts: Mapping[str, int], split_file: Path) -> str:
        out = f"{counts['identical']:,} examples show {counts['pictures_of_identical']:,} pictures"
        if counts["with_other_targets"]:
            out += f" ({counts['with_other_targets']:,} of them with different labels)"
        if counts["left_out"]:
            pairs = self._pairs(self._sets(self.part < 0), self.part)
            out += (
                f"; {counts['left_out']:,} copies are left out, since a given part of higher rank (test, val) has them "
                f"(e.g. {pairs})"
            )
        if not counts["in_several_parts"]:
            return f"{out}; each picture is in one part only"
        return (
            f"{out}; {counts['in_several_parts']:,} examples have copies in other parts of the split (e.g. "
            f"{self._pairs(self._sets(self.crossing), self.part)}), which was drawn before and is kept (if no study "
            f"uses it, delete {split_file} to draw it again)"
        )

    def _of_patients(self, counts: Mapping[str, int]) -> str:
        """What is shared by several patients, "" where nothing is, or nothing is known of patients."""
        if not self.patients_are_known:
            return ""
        patients, found = self.patients, []
        if num := counts["pictures_of_several_groups"]:
            pairs = self._pairs(self._sets(self.pictures.in_several_parts(patients)), patients)
            found.append(f"{num:,} identical (e.g. {pairs}), whose patients are kept together in a split drawn here")
        if self.alike:
            pairs = self._pairs(self.alike, patients)
            found.append(
                f"{len(self.alike):,} sets almost identical (e.g. {pairs}), which are kept together in outer folds only"
            )
        return "; ".join(found)

    def _sets(self, of: np.ndarray) -> list[np.ndarray]:
        """The rows of each picture that one of the examples `of` (N,) bool shows."""
        shown = np.isin(self.pictures.number, self.pictures.number[of])
        order = np.flatnonzero(shown)[np.argsort(self.pictures.number[shown], kind="stable")]
        ends = np.flatnonzero(np.diff(self.pictures.number[order])) + 1
        return [rows for rows in np.split(order, ends) if len(rows)]

    def _pairs(self, sets: Iterable[np.ndarray], place: np.ndarray) -> str:
        """A pair of ids from each of the first sets, of which the `place` (N,) differs."""
        pairs = []
        for rows in list(sets)[:NUM_NAMED]:
            other = rows[place[rows] != place[rows[0]]][0]
            pairs.append(f"{self.table.ids[rows[0]]} and {self.table.ids[other]}")
        return "; ".join(pairs)

    def as_csv(self) -> str:
        """A row for each example of a finding; "" if there is none."""
        kind = np.where(self.other_targets, "identical, different labels", "identical")
        rows: list[tuple[str, int, str, str, str, str]] = []
        listed = np.flatnonzero(self.identical)
        sets = np.unique(self.pictures.number[listed], return_inverse=True)[1]
        for row, number in sorted(zip(listed.tolist(), sets.tolist(), strict=True), key=lambda pair: pair[::-1]):
            rows.append((str(kind[row]), number + 1, *self._example(row)))
        alike = self.alike if self.patients_are_known else []
        near_sets = dict.fromkeys(tuple(near.tolist()) for near in [*self.near, *alike])
        for number, near in enumerate(near_sets, start=int(sets.max(initial=-1)) + 2):
            rows += [("nearly identical", number, *self._example(row)) for row in near]
        rows += [("constant", 0, *self._example(row)) for row in np.flatnonzero(self.pictures.constant).tolist()]
        return csv_text([("finding", "set", "image", "group", "part", "labels"), *rows]) if rows else ""

    def _example(self, row: int) -> tuple[str, str, str, str]:
        """Id, group, part and labels; no labels of an example whose parts have their own."""
        targets = self.table.targets[row]
        labels = [
            name for name, value in zip(self.table.labels, targets, strict=True) if targets.ndim == 1 and value == 1
        ]
        part = (*PARTS, HELD_OUT)[self.part[row]] if self.part[row] >= 0 else "left out"
        return str(self.table.ids[row]), str(self.table.groups[row]), part, "|".join(labels)


def write_findings(
    cache_dir: Path, understood: Mapping[str, Any], findings: PictureFindings, split_file: Path
) -> list[str]:
    """Write understood.json and the listing of the findings, both named as the split, where `cache_dir` is writable.

    Returns:
        The lines to say.
    """
    name = split_file.stem.removeprefix("split_")
    listing = cache_dir / f"twins-{name}.csv"
    with suppress(OSError):
        write_json(cache_dir / f"understood-{name}.json", understood)
        if rows := findings.as_csv():
            write_text(listing, rows)
    return findings.lines(listing, split_file)
