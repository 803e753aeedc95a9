"""What a report may not hold: paths of the machine it was made on, and names of raw files, which name patients."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from xlite.data.image_formats import SUFFIXES
from xlite.data.scan_lines import SCAN_SUFFIXES

PLACE = "(path)"
_REST = r"(?:[^\s'\",;()<>|]*[^\s'\",;:()<>|])?"
# A path begins a word, or follows "sqlite://", and has two names at least, of which one alone would tell nothing;
# "and/or", "N/A", "</b>", "1 / 2", "' /C" and "https://host" are none.
_START = r"(?:(?<![\w<)\]:;/])|(?<=//))"
_FILE = rf"(?:{'|'.join(map(re.escape, (*SUFFIXES, *SCAN_SUFFIXES, '.csv')))})\b"
# With such an ending a path may hold spaces, and one that is relative, or a name alone, is known as a file's.
_WITH_SPACES = rf"[^\n'\",:;()<>|]*?{_FILE}"
_ALONE = rf"(?<![^\s'\",;()<>|])[^\s'\",;()<>|]+{_FILE}"
_ROOT = r"(?:[A-Za-z]:[\\/]+|~[\\/]+|[\\/]+[\w.@ -]+[\\/]+)(?=[\w.@-])"
_PATH = re.compile(rf"{_START}{_ROOT}(?:{_WITH_SPACES}|{_REST})|{_ALONE}", re.IGNORECASE)
T = TypeVar("T")


def without_paths(text: str, known: Iterable[Path] = ()) -> str:
    """`text` with each absolute path and each raw file's name replaced by PLACE: NIH's name the patient.

    Args:
        known: folders whose names may hold spaces, by which a path is not recognised otherwise.
    """
    for folder in sorted(map(str, known), key=len, reverse=True):
        if len(folder) > 1:
            text = re.sub(re.escape(folder) + _REST, PLACE, text)
    return _PATH.sub(PLACE, text)


def cleaned(value: T, known: Iterable[Path] = ()) -> T:
    """The same value with every text in it `without_paths`; pictures stay."""
    known = tuple(known)

    def of(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return value if key in ("uri", "hovertemplate") else without_paths(value, known)
        if isinstance(value, dict):
            return {name: of(item, name) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(of(item) for item in value)
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{field.name: of(getattr(value, field.name), field.name) for field in fields(value)})
        return value

    return of(value)
