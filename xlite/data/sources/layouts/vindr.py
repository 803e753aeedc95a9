"""VinDr-CXR (VinBigData's challenge): a row a box and reader; VinDr-Mammo: lists of findings, studies, parts."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading

_BOXES = {"image_id", "class_name", "class_id", "rad_id"}
_MAMMO = {"study_id", "image_id", "finding_categories", "split"}


def _tables(found: Found, columns: set[str]) -> list[str]:
    return [name for name in found.tables if columns <= found.header(name)]


def _read_boxes(found: Found) -> Reading:
    source = found.tables[_tables(found, _BOXES)[0]]
    rows = found.rows(source.lower())
    choices = {
        "file_column": "image_id",
        "label_column": ("class_name",),
        "group_column": "none",
        "split_column": "none",
        "kind": "multilabel",
    }
    return Reading(
        rows, choices, "a row a box: an image has each finding that any reader named; the set names no patients", source
    )


def _read_mammo(found: Found) -> Reading:
    source = found.tables[_tables(found, _MAMMO)[0]]
    rows = found.rows(source.lower())
    choices = {
        "file_column": "image_id",
        "label_column": ("finding_categories",),
        "group_column": "study_id",
        "split_column": "split",
        "kind": "multilabel",
    }
    return Reading(
        rows, choices, "findings are the lists in 'finding_categories', patient = study_id, its own parts", source
    )


VINDR_CXR = Layout("vindr-cxr", "VinDr-CXR", lambda found: bool(_tables(found, _BOXES)), _read_boxes)
VINDR_MAMMO = Layout("vindr-mammo", "VinDr-Mammo", lambda found: bool(_tables(found, _MAMMO)), _read_mammo)
