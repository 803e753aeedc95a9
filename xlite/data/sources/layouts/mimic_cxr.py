"""MIMIC-CXR-JPG: findings by study, parts and views by image, each in a table of its own, joined here."""

import pandas as pd

from xlite.data.sources.layouts.chexpert import FINDINGS
from xlite.data.sources.layouts.layout import Found, Layout, Reading


def _labels(found: Found) -> list[str]:
    return found.named("mimic-cxr", "chexpert") or found.named("mimic-cxr", "negbio")


def _read(found: Found) -> Reading:
    labels = found.rows(_labels(found)[0])
    splits, metadata = found.named("mimic-cxr", "split"), found.named("mimic-cxr", "metadata")
    if splits:
        images = found.rows(splits[0])[["dicom_id", "subject_id", "study_id", "split"]]
    elif metadata:
        images = found.rows(metadata[0])[["dicom_id", "subject_id", "study_id"]]
    else:
        images = _images_of_paths(found)
    if splits and metadata and "ViewPosition" in found.header(metadata[0]):
        images = images.merge(found.rows(metadata[0])[["dicom_id", "ViewPosition"]], on="dicom_id", how="left")
    rows = images.merge(labels, on=["subject_id", "study_id"], how="inner").fillna("")
    num_without = len(images) - len(rows)
    rows.index += 2
    findings = tuple(name for name in FINDINGS if name in rows.columns)
    for name in findings:
        rows[name] = [value or "0" for value in rows[name]]
    choices = {
        "file_column": "dicom_id",
        "group_column": "subject_id",
        "label_column": findings,
        "split_column": "split" if splits else "none",
    }
    parts = "its own parts, " if splits else ""
    left_out = f", {num_without} images of studies without labels left out" if num_without else ""
    return Reading(
        rows,
        choices,
        f"labels by study, {parts}patient = subject_id, blank = not mentioned = 0, -1 = uncertain{left_out}",
        found.tables[_labels(found)[0]],
    )


def _images_of_paths(found: Found) -> pd.DataFrame:
    """Images, patients and studies from files/p10/p10000032/s50414267/<dicom_id>.jpg."""
    parts = [path.rsplit("/", 3) for path in found.files.images]
    known = [each for each in parts if len(each) == 4 and each[1][:1] == "p" and each[2][:1] == "s"]
    table = [(name.rsplit(".", 1)[0], patient[1:], study[1:]) for _, patient, study, name in known]
    return pd.DataFrame(table, columns=["dicom_id", "subject_id", "study_id"], dtype=object)


MIMIC_CXR = Layout("mimic-cxr", "MIMIC-CXR-JPG", _labels, _read)
