"""EyePACS (Kaggle's diabetic retinopathy): trainLabels.csv with 10_left, 10_right and a grade."""

import re

from xlite.data.sources.layouts.layout import Found, Layout, Reading

_NAME = re.compile(r"(\d+)_(left|right)")


def _tables(found: Found) -> list[str]:
    return [name for name in found.with_columns("image", "level") if "trainlabels" in name]


def _recognise(found: Found) -> bool:
    return any(map(_NAME.fullmatch, found.rows(_tables(found)[0])["image"])) if _tables(found) else False


def _read(found: Found) -> Reading:
    rows = found.rows(_tables(found)[0])
    rows["patient"] = [match[1] if (match := _NAME.match(name)) else "" for name in rows["image"]]
    choices = {
        "file_column": "image",
        "label_column": ("level",),
        "group_column": "patient",
        "split_column": "none",
    }
    return Reading(
        rows, choices, "class = level, both eyes of a patient kept together", found.tables[_tables(found)[0]]
    )


EYEPACS = Layout("eyepacs", "EyePACS", _recognise, _read)
