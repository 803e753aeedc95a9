"""The epochs at which ASHA compares trials, as pure functions of the budget."""

import math
from collections.abc import Sequence

REDUCTION_FACTOR = 3
INFORMATIVE_IMAGES = 3500
"""After training on this many images, trials rank nearly as they will at the end (Spearman 0.85 or more)."""


def first_rung(max_epochs: int, held_back_epochs: int, num_images: int) -> int:
    """Epochs before any trial can be stopped: a fortieth of the budget or 3,500 images, at least one at full strength.

    An epoch of tens of thousands of images tells enough; one of a thousand does not, and stopping there costs a search
    of a dozen trials its best one (benchmarks/early_epochs.py). At most half the budget, or 3 epochs.

    Args:
        held_back_epochs: of warm-up, or with a frozen backbone; they say little about the final value.
        num_images: in one epoch of training.
    """
    informed = max(round(max_epochs / 40), math.ceil(INFORMATIVE_IMAGES / num_images))
    return min(max_epochs, max(held_back_epochs + 1, min(informed, max(3, max_epochs // 2))))


def rungs(max_epochs: int, grace_epochs: int) -> list[int]:
    """Epochs at which a trial is compared: grace, grace * 3, grace * 9, ... below the budget."""
    out, rung = [], grace_epochs
    while rung < max_epochs:
        out.append(rung)
        rung *= REDUCTION_FACTOR
    return out


def describe_rungs(compared_after: Sequence[int]) -> str:
    """One line on the epochs after which trials are compared."""
    if not compared_after:
        return "Trials are too short for ASHA to compare them on the way: each runs to its end"
    at = ", ".join(map(str, compared_after))
    return f"ASHA compares trials after {at} {'epoch' if at == '1' else 'epochs'}; the best third continue"


def expected_epochs(max_epochs: int, grace_epochs: int) -> float:
    """Mean epochs of a trial if each rung keeps one in REDUCTION_FACTOR; with 0 grace epochs all run to the end."""
    mean, reach, done = 0.0, 1.0, 0
    for rung in [*(rungs(max_epochs, grace_epochs) if grace_epochs else []), max_epochs]:
        mean += reach * (rung - done)
        reach, done = reach / REDUCTION_FACTOR, rung
    return mean
