"""BreakHis: .../benign|malignant/SOB/<kind>/<slide>/<zoom>X/<slide>-<zoom>-001.png."""

import re

import pandas as pd

from xlite.data.sources.layouts.layout import Found, Layout, Reading, by_paths

_PATH = re.compile(r"(?:.*/)?(benign|malignant)/SOB/([a-z_]+)/(SOB_[^/]+)/\d+X/[^/]+")


def _read(found: Found) -> Reading:
    matches = [(path, match) for path in found.files.images if (match := _PATH.fullmatch(path))]
    table = [(path, match[1], match[2], match[3]) for path, match in matches]
    rows = pd.DataFrame(table, columns=["image", "class", "kind", "slide"], dtype=object)
    rows.index += 2
    choices = {
        "file_column": "image",
        "label_column": ("class",),
        "group_column": "slide",
        "split_column": "none",
    }
    return Reading(
        rows, choices, "class = benign or malignant (--label-column kind: the eight kinds), slides kept whole"
    )


BREAKHIS = Layout("breakhis", "BreakHis", by_paths(_PATH), _read)
