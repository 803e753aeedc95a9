"""A teacher's labels matched with the data's, by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlite.errors import InputError


@dataclass(frozen=True)
class LabelMatch:
    """Where each label of the data is among a teacher's outputs.

    Attributes:
        columns: (L,) int, the output of each label; -1: the teacher does not know it.
        unknown: the labels it does not know.
    """

    columns: np.ndarray
    unknown: tuple[str, ...]

    def select(self, outputs: np.ndarray) -> np.ndarray:
        """(..., L) float32 of a teacher's outputs (..., K), NaN for labels that it does not know."""
        chosen = outputs[..., self.columns].astype(np.float32, copy=False)
        if self.unknown:
            chosen[..., self.columns < 0] = np.nan
        return chosen

    def notes(self, name: str) -> tuple[str, ...]:
        """A line on the labels that the teacher `name` does not know."""
        if not self.unknown:
            return ()
        return (f"{name} does not know {', '.join(self.unknown)}: no soft part from it",)


def match_labels(file: Path, known: Sequence[str], labels: Sequence[str], *, partial: bool) -> LabelMatch:
    """Match by name, whatever the case; spaces, hyphens and underscores are alike. Nameless outputs are left out.

    Args:
        known: K names of the teacher's outputs, "" for one that is not used.
        labels: the data's.
        partial: whether the teacher may lack labels, as it may where each label is answered by itself.

    Raises:
        InputError: two outputs have one name, or the teacher lacks labels that it must know.
    """
    named = [name for name in known if name]
    if twice := [name for name in named if named.count(name) > 1]:
        raise InputError(f"{file}: two of its labels are called {twice[0]}; rename one, or leave its name empty")
    plain = [_plain(name) for name in known]

    def place(label: str) -> int:
        if label in named:
            return known.index(label)
        return plain.index(_plain(label)) if plain.count(_plain(label)) == 1 else -1

    columns = np.array([place(label) for label in labels])
    unknown = tuple(label for label, column in zip(labels, columns, strict=True) if column < 0)
    if len(unknown) == len(labels) or (unknown and not partial):
        missing = f"; it lacks {', '.join(unknown)}" if len(unknown) < len(labels) else ""
        raise InputError(
            f"{file}: this teacher knows {_abridged(known)}, the data has {_abridged(labels)}{missing}; rename its "
            "labels, or train a teacher with `xlite teacher`"
        )
    return LabelMatch(columns, unknown)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _abridged(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{len(labels)} labels ({shown}{', ...' if len(labels) > 3 else ''})"
