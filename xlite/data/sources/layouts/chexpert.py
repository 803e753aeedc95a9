"""CheXpert: train.csv and valid.csv with a path, then 14 findings of 1, 0, -1 (uncertain) or blank (not mentioned)."""

import re

import pandas as pd

from xlite.data.sources.layouts.layout import Found, Layout, Reading
from xlite.data.sources.part_lists import part_of_file

FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
_PATIENT = re.compile(r"((train|valid|test)/)?patient\d+")


def _tables(found: Found) -> list[str]:
    return found.with_columns("Path", *FINDINGS[5:9])


def _read(found: Found) -> Reading:
    frames = []
    names = _tables(found)
    for name in names:
        rows = found.rows(name).assign(part=part_of_file(found.files.folder / name) or "train")
        for finding in [name for name in FINDINGS if name in rows.columns]:
            rows[finding] = [value or "0" for value in rows[finding]]
        frames.append(rows)
    rows = pd.concat(frames, ignore_index=True).fillna("")  # a finding that one of the tables lacks is unknown there
    rows.index += 2
    rows["patient"] = [match[0] if (match := _PATIENT.search(path)) else "" for path in rows["Path"]]
    rows["Path"] = [_known_part(found, path) for path in rows["Path"]]
    findings = tuple(name for name in FINDINGS if name in rows.columns)
    several = len(set(rows["part"])) > 1
    choices = {
        "file_column": "Path",
        "group_column": "patient",
        "label_column": findings,
        "split_column": "part" if several else "none",
    }
    parts = "parts by the tables' names, " if several else ""
    return Reading(
        rows,
        choices,
        f"patient from the path, {parts}blank = not mentioned = 0, -1 = uncertain",
        found.tables[names[0]],
    )


def _known_part(found: Found, path: str) -> str:
    """The path without its topmost folder where that was renamed."""
    return path if found.files.find(path) else path.split("/", 1)[-1]


CHEXPERT = Layout("chexpert", "CheXpert", _tables, _read)
