"""ODIR-5K: full_df.csv with a patient's diagnoses in eight columns of 0 and 1, and each eye's own in 'labels'."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _tables(found: Found) -> list[str]:
    return [name for name in found.tables if {"ID", "Left-Fundus", "labels", "filename"} <= found.header(name)]


def _recognise(found: Found) -> bool:
    return bool(_tables(found))


def _read(found: Found) -> Reading:
    rows = found.rows(_tables(found)[0])
    choices = {
        "file_column": "filename",
        "label_column": ("labels",),
        "group_column": "ID",
        "split_column": "none",
    }
    return Reading(
        rows,
        choices,
        "class = 'labels', the eye's own (N, D, G ... are the patient's), patient = ID",
        found.tables[_tables(found)[0]],
    )


ODIR = Layout("odir", "ODIR-5K", _recognise, _read)
