"""HAM10000: one table (with any suffix, tabs or commas) with dx, a diagnosis, and lesion_id; two folders of images."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _tables(found: Found) -> list[str]:
    return [name for name in found.tables if {"lesion_id", "image_id", "dx"} <= found.header(name)]


def _recognise(found: Found) -> bool:
    return bool(_tables(found))


def _read(found: Found) -> Reading:
    rows = found.rows(_tables(found)[0])
    choices = {
        "file_column": "image_id",
        "label_column": ("dx",),
        "group_column": "lesion_id",
        "split_column": "none",
    }
    return Reading(rows, choices, "class = dx, images of one lesion kept together", found.tables[_tables(found)[0]])


HAM10000 = Layout("ham10000", "HAM10000", _recognise, _read)
