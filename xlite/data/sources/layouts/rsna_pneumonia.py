"""RSNA Pneumonia Detection: a row a box with Target 0 or 1; a second table has three classes, which are not used."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _tables(found: Found) -> list[str]:
    return [name for name in found.tables if {"patientId", "Target", "width"} <= found.header(name)]


def _recognise(found: Found) -> bool:
    return bool(_tables(found))


def _read(found: Found) -> Reading:
    rows = found.rows(_tables(found)[0])
    choices = {"file_column": "patientId", "label_column": ("Target",), "group_column": "none", "split_column": "none"}
    others = ", ".join(found.tables[name] for name in found.named("class_info"))
    beside = f"; {others} (three classes) is left out, --table {others} takes it" if others else ""
    return Reading(
        rows, choices, f"a row a box, label = Target, an image a patient{beside}", found.tables[_tables(found)[0]]
    )


RSNA_PNEUMONIA = Layout("rsna-pneumonia", "RSNA Pneumonia Detection", _recognise, _read)
