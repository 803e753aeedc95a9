"""RSNA Pneumonia Detection: a row a box with Target 0 or 1; a second table has three classes, which are not used."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _tables(found: Found) -> list[str]:
    return found.with_columns("patientId", "Target", "width")


def _read(found: Found) -> Reading:
    table = _tables(found)[0]
    choices = {"file_column": "patientId", "label_column": ("Target",), "group_column": "none", "split_column": "none"}
    others = ", ".join(found.tables[name] for name in found.named("class_info"))
    beside = f"; {others} (three classes) is left out, --table {others} takes it" if others else ""
    says = f"a row a box, label = Target, an image a patient{beside}"
    return Reading(found.rows(table), choices, says, found.tables[table])


RSNA_PNEUMONIA = Layout("rsna-pneumonia", "RSNA Pneumonia Detection", _tables, _read)
