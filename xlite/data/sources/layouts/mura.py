"""MURA: train/ and valid/ of body part, patient and study; the study's folder says positive or negative."""

import re

import pandas as pd

from xlite.data.sources.layouts.layout import Found, Layout, Reading, by_paths

_PATH = re.compile(r"(?:.*/)?(train|valid)/(XR_[A-Z]+)/(patient\d+)/study\d+_(positive|negative)/[^/]+")


def _read(found: Found) -> Reading:
    matches = [(path, match) for path in found.files.images if (match := _PATH.fullmatch(path))]
    table = [(path, match[3], match[2], match[1], str(int(match[4] == "positive"))) for path, match in matches]
    rows = pd.DataFrame(table, columns=["image", "patient", "body_part", "part", "abnormal"], dtype=object)
    rows.index += 2
    choices = {
        "file_column": "image",
        "label_column": ("abnormal",),
        "group_column": "patient",
        "split_column": "part" if rows["part"].nunique() > 1 else "none",
    }
    return Reading(rows, choices, "abnormal or not by the study's folder, patient from the path, its own parts")


MURA = Layout("mura", "MURA", by_paths(_PATH), _read)
