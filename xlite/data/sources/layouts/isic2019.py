"""ISIC 2019: eight classes as columns of 0.0 and 1.0, UNK never 1; lesions in a second table, some unknown."""

from xlite.data.sources.layouts.layout import Found, Layout, Reading

_CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def _truth(found: Found) -> list[str]:
    return found.with_columns("image", *_CLASSES[:5])


def _recognise(found: Found) -> bool:
    return bool(_truth(found)) and bool(found.named("isic"))


def _read(found: Found) -> Reading:
    rows = found.rows(_truth(found)[0])
    classes = tuple(name for name in _CLASSES if name in rows and (rows[name].isin(("1.0", "1"))).any())
    says = f"{len(classes)} classes that exclude one another"
    choices = {"file_column": "image", "label_column": classes, "kind": "multiclass", "split_column": "none"}
    metadata = [name for name in found.named("metadata") if {"image", "lesion_id"} <= found.header(name)]
    if metadata:
        lesions = found.rows(metadata[0])[["image", "lesion_id"]].drop_duplicates("image")
        index = rows.index
        rows = rows.merge(lesions, on="image", how="left").fillna("").set_index(index)
        choices["group_column"] = "lesion_id"
        says += f", lesions from {found.tables[metadata[0]]} kept whole"
    elif "lesion_id" in rows:
        choices["group_column"] = "lesion_id"
    return Reading(rows, choices, says, found.tables[_truth(found)[0]])


ISIC2019 = Layout("isic2019", "ISIC 2019", _recognise, _read)
