"""PadChest: one table of images with a Python list of findings each."""

from xlite.data.sources.layouts.layout import of_one_table

PADCHEST = of_one_table(
    "padchest",
    "PadChest",
    ("ImageID", "PatientID", "Labels"),
    "findings are the lists in 'Labels', patient = PatientID",
    file_column="ImageID",
    group_column="PatientID",
    label_column=("Labels",),
    kind="multilabel",
)
