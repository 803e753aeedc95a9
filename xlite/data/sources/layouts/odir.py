"""ODIR-5K: full_df.csv with a patient's diagnoses in eight columns of 0 and 1, and each eye's own in 'labels'."""

from xlite.data.sources.layouts.layout import of_one_table

ODIR = of_one_table(
    "odir",
    "ODIR-5K",
    ("ID", "Left-Fundus", "labels", "filename"),
    "class = 'labels', the eye's own (N, D, G ... are the patient's), patient = ID",
    file_column="filename",
    label_column=("labels",),
    group_column="ID",
)
