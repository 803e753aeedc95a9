"""PadChest: one table of images with a Python list of findings each."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _tables(found: Found) -> list[str]:
    return [name for name in found.tables if {"ImageID", "PatientID", "Labels"} <= found.header(name)]


def _recognise(found: Found) -> bool:
    return bool(_tables(found))


def _read(found: Found) -> Reading:
    rows = found.rows(_tables(found)[0])
    choices = {
        "file_column": "ImageID",
        "group_column": "PatientID",
        "label_column": ("Labels",),
        "kind": "multilabel",
        "split_column": "none",
    }
    return Reading(
        rows, choices, "findings are the lists in 'Labels', patient = PatientID", found.tables[_tables(found)[0]]
    )


PADCHEST = Layout("padchest", "PadChest", _recognise, _read)
