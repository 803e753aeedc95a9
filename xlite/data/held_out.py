"""Patients of the training part that nothing trains on or is chosen by: a guarantee needs data that nobody has seen."""

from dataclasses import replace
from typing import Literal

import numpy as np

from xlite.data.split import Split, subset
from xlite.data.table import Table
from xlite.errors import InputError

HELD_OUT: Literal["held_out"] = "held_out"
"""The name of this part."""


def hold_out(table: Table, split: Split, share: float, *, seed: int, strata: np.ndarray) -> tuple[Split, np.ndarray]:
    """Move about `share` of the training rows out of `split`, stratified, with whole groups (patients).

    Groups that are also in validation or test, as given parts and splits by image may have it, stay in training.

    Args:
        share: in (0, 1).
        strata: (N, K), see `make_split`.

    Returns:
        The split without them, whose content hash differs, and (n,) int64 held-out rows, sorted.

    Raises:
        InputError: the training part has too few groups.
    """
    judged = np.concatenate([split.val, split.test])
    free = split.train[~np.isin(table.groups[split.train], table.groups[judged])]
    fraction = share * len(split.train) / max(len(free), 1)
    num_groups, num_in_all = len(np.unique(table.groups[free])), len(np.unique(table.groups[split.train]))
    if fraction >= 1 or num_groups < 2:
        raise InputError(
            f"--guarantee-share {share:g}: {num_groups} of the training part's {num_in_all} patients are in no other "
            "part, too few to hold out; lower it, or add images of other patients"
        )
    held_out = subset(table, free, fraction, seed=seed, strata=strata)
    return replace(split, train=np.setdiff1d(split.train, held_out)), held_out


def unguaranteed(table: Table, held_out: np.ndarray) -> list[str]:
    """A note on the labels of which no held-out row is positive."""
    positive = (table.targets[held_out] == 1).any(axis=0)
    names = [label for label, some in zip(table.labels, positive, strict=True) if not some]
    return [f"no held-out image is positive for {', '.join(names)}: no guarantee is possible"] if names else []
