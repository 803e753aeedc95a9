"""Finds the patient in the images' own names, where both sides of one are there: 10_left and 10_right."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

_SIDE = re.compile(r"(.+?)[ _-]?(?:(?<=[ _-])(?:l|r|od|os|ld|rd)|left|right)", re.IGNORECASE)


def groups_of_names(names: Sequence[str]) -> tuple[np.ndarray, str] | None:
    """(N,) groups of images whose names differ in the side alone, and a line on them; None unless all end in a side."""
    groups = []
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        stem = path.stem if path.suffix[1:].isalpha() else path.name
        match = _SIDE.fullmatch(stem)
        if match is None:
            return None
        groups.append(match[1])
    counts = Counter(groups)
    if not 1 < len(counts) < len(groups):
        return None
    example = counts.most_common(1)[0][0]
    note = (
        f"groups: {len(counts)} by the images' names without left and right, e.g. {example!r}; --group-column none "
        "takes each image alone"
    )
    return np.array(groups, dtype=np.str_), note
