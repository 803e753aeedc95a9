"""Which example a name in somebody else's list means: its id, or a file name or path that fits one example only."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}(\.gz)?$")  # of a file; not the end of a DICOM UID


def rows_of(names: Iterable[str], ids: np.ndarray) -> np.ndarray:
    """(N,) int: the position among `ids` (M,) of the example that each name means, -1 where it means none.

    A name means the id that it equals; else the one id that agrees with it without folder, suffix, or both.
    """
    exact = {name: row for row, name in enumerate(ids.tolist())}
    loose: dict[str, int] = {}
    for name, row in exact.items():
        for form in set(_forms(name)):
            loose[form] = row if form not in loose else -1

    def row_of(name: str) -> int:
        if name in exact:
            return exact[name]
        return next((loose[form] for form in _forms(name) if form in loose), -1)

    return np.array([row_of(name.strip()) for name in names], dtype=np.int64)


def _forms(name: str) -> Iterator[str]:
    """The name, without its suffix, without its folder, without both."""
    path = PurePosixPath(name.replace("\\", "/"))
    for form in (str(path), path.name):
        yield form
        yield _SUFFIX.sub("", form)
