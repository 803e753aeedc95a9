"""HAM10000: one table (with any suffix, tabs or commas) with dx, a diagnosis, and lesion_id; two folders of images."""

from xlite.data.sources.layouts.layout import of_one_table

HAM10000 = of_one_table(
    "ham10000",
    "HAM10000",
    ("lesion_id", "image_id", "dx"),
    "class = dx, images of one lesion kept together",
    file_column="image_id",
    label_column=("dx",),
    group_column="lesion_id",
)
