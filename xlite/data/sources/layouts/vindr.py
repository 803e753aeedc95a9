"""VinDr-CXR (VinBigData's challenge): a row a box and reader; VinDr-Mammo: lists of findings, studies, parts."""

from xlite.data.sources.layouts.layout import of_one_table

VINDR_CXR = of_one_table(
    "vindr-cxr",
    "VinDr-CXR",
    ("image_id", "class_name", "class_id", "rad_id"),
    "a row a box: an image has each finding that any reader named; the set names no patients",
    file_column="image_id",
    label_column=("class_name",),
    kind="multilabel",
)
VINDR_MAMMO = of_one_table(
    "vindr-mammo",
    "VinDr-Mammo",
    ("study_id", "image_id", "finding_categories", "split"),
    "findings are the lists in 'finding_categories', patient = study_id, its own parts",
    file_column="image_id",
    label_column=("finding_categories",),
    group_column="study_id",
    split_column="split",
    kind="multilabel",
)
