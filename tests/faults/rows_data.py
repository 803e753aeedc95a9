"""The bad-input table, data: folders, label tables and images of every task."""
# ruff: noqa: E501  (a table: a row a line)

import re

from bad_inputs import (
    TABLE,
    Row,
    cell,
    content,
    copy_of,
    cut,
    encoded,
    fifo,
    frame,
    given_all,
    header_only,
    image,
    nih_table,
    removed,
)

LUMBAR = "--task lumbar_spine --data {home}/lumbar"
STM = "--task stm_scanlines --data {home}/stm"
IMAGES = "--task images --data {home}/images"
NIH_IMAGES = "nih/images_001/images"


def nothing_found(table: str) -> str:
    return table.replace("Effusion", "No Finding").replace("Infiltration", "No Finding").replace("Cardiomegaly", "No Finding").replace("No Finding|No Finding", "No Finding").replace("No Finding|No Finding", "No Finding")  # fmt: skip


def first_name(value: str):
    return nih_table(lambda table: table.replace("00000000_000.png", value, 1))


def official(train: str, test: str):
    return given_all(content("nih/train_val_list.txt", train), content("nih/test_list.txt", test))


# fmt: off
DATA = [
    # the folder
    Row("data-nowhere", "tune_kd", "--data {home}/nowhere", r"--data .*/nowhere: no such folder", shell=True),
    *(
        Row(f"data-file-{command}", command, "--data {home}/f", r"/f: (no such folder|not a folder|is a file)", content("f", ""))
        for command in ("tune_kd", "train_baselines", "train_one", "train_teacher", "prepare_data", "check_balance")
    ),
    Row("data-escape", "prepare_data", "--data '{home}/\x1b[2Jx'", r"/\\x1b\[2Jx: no such folder"),
    Row("data-long-name", "prepare_data", f"--data {{home}}/{'n' * 300}", r"File name too long|no such folder"),
    Row("data-no-table", "check_balance", "", r"nih: no Data_Entry_2017\*.csv", removed(TABLE), shell=True),
    Row("data-two-tables", "prepare_data", "", r"differ from one another", content("nih/Data_Entry_2017.csv", "other")),
    Row("data-phantomless", "prepare_data", "--task images --data {home}/nowhere", r"no such folder"),
    # NIH's table
    Row("table-empty", "prepare_data", "", r"no column 'Image Index'", nih_table(lambda t: "")),
    Row("table-header", "prepare_data", "", r"Data_Entry_2017_v2020.csv: no rows", nih_table(header_only)),
    Row("table-column", "prepare_data", "", r"no column 'Patient ID'", nih_table(lambda t: t.replace("Patient ID", "Who"))),
    Row("table-columns", "prepare_data", "", r"two columns are named 'Patient ID'", nih_table(lambda t: t.replace("Follow-up #", "Patient ID"))),
    Row("table-semicolons", "prepare_data", "", r"no column 'Image Index'.*commas", nih_table(lambda t: t.replace(",", ";"))),
    Row("table-utf16", "prepare_data", "", r"not UTF-8 text", encoded("utf-16")),
    Row("table-latin1", "check_balance", "", r"not UTF-8 text", given_all(nih_table(lambda t: t.replace("PA", "PÄ", 1)), encoded("latin-1"))),
    Row("table-nul", "check_balance", "", r"NUL bytes", nih_table(lambda t: t.replace("PA", "P\0", 1))),
    Row("table-quote", "check_balance", "", r"Data_Entry", nih_table(lambda t: t.replace("00000000_000.png", '"00000000_000.png', 1))),
    Row("table-gzip", "check_balance", "", r"damaged gzip file", given_all(removed(TABLE), content(TABLE + ".gz", b"no gzip"))),
    Row("table-folder", "check_balance", "", r"no Data_Entry_2017\*.csv", given_all(removed(TABLE), content(TABLE + "/x", ""))),
    Row("table-label", "prepare_data", "", r"row \d+ has the unknown label 'Efusion'", nih_table(lambda t: t.replace("Effusion", "Efusion", 1))),
    Row("table-both", "tune_kd", "", r"both 'No Finding' and a finding", nih_table(lambda t: t.replace("Effusion", "No Finding|Effusion", 1))),
    Row("table-no-label", "check_balance", "", r"row \d+ has no Finding Labels", nih_table(lambda t: re.sub(r"(_000.png),[^,]*,", r"\1,,", t, count=1))),
    Row("table-twice", "train_one", "", r"00000000_000.png is in rows 2 and 62", nih_table(lambda t: t + t.splitlines()[1] + "\n")),
    Row("table-no-patient", "train_teacher", "", r"row 2 has no Patient ID", nih_table(lambda t: t.replace(",0,0,50", ",0,,50", 1))),
    Row("table-nothing", "train_baselines", "", r"no image has any of the 14 findings", nih_table(nothing_found)),
    Row("name-up", "prepare_data", "", r"row 2 has Image Index '../../etc/passwd'; write a plain file name", first_name("../../etc/passwd")),
    Row("name-absolute", "prepare_data", "", r"row 2 has Image Index '/etc/passwd'; write a plain", first_name("/etc/passwd")),
    Row("name-backslash", "check_balance", "", r"write a plain file name", first_name("..\\secret.png")),
    # NIH's images and lists
    Row("images-none", "prepare_data", "", r"none of the 60 images is there", removed("nih/images_001")),
    Row("image-missing", "prepare_data", "", r"00000000_000.png.*--allow-missing", removed(NIH_IMAGES + "/*.png")),
    Row("image-empty", "tune_kd", "", r"unreadable: the file is empty.*--allow-missing", image(lambda data: b"")),
    Row("image-text", "train_one", "", r"unreadable: not an image", image(lambda data: b"not a picture")),
    Row("image-cut", "prepare_data", "", r"unreadable: truncated PNG", image(lambda data: data[:-300]), shell=True),
    Row("image-flipped", "prepare_data", "", r"unreadable: damaged PNG \(wrong checksum", image(lambda data: data[:99] + b"?" + data[100:])),
    Row("image-jpeg", "prepare_data", "", r"unreadable: (truncated|damaged) JPEG", image(lambda data: b"\xff\xd8\xff\xe0" + data), shell=True),
    Row("image-tiff", "prepare_data", "", r"unreadable: not an image", image(lambda data: b"II*\0\x08\0\0\0\xff\xff" + data), shell=True),
    Row("image-radiance", "prepare_data", "", r"unreadable: not an image", image(lambda data: b"#?RADIANCE\n\n"), shell=True),
    Row("image-pipe", "prepare_data", "", r"1 of 60 images", given_all(removed(NIH_IMAGES + "/*.png"), fifo(NIH_IMAGES + "/00000000_000.png"))),
    Row("lists-none", "prepare_data", "--split official", r"no official train and test lists"),
    Row("lists-no-test", "prepare_data", "--split official", r"00000000_000.png is on neither", official("", "9.png")),
    Row("lists-utf16", "prepare_data", "--split official", r"not UTF-8 text", given_all(content("nih/train_val_list.txt", b"\xff\xfe0"), content("nih/test_list.txt", ""))),
    # lumbar spine
    Row("lumbar-no-table", "prepare_data", LUMBAR, r"no train.csv", copy_of("lumbar", removed("train.csv"))),
    Row("lumbar-grade", "prepare_data", LUMBAR, r"'Awful'; known are Normal/Mild", copy_of("lumbar", cell("train.csv", "spinal_canal_stenosis_l1_l2", "Awful"))),
    Row("lumbar-study-up", "prepare_data", LUMBAR, r"study_id is '../..'; write digits", copy_of("lumbar", cell("train.csv", "study_id", "../.."))),
    Row("lumbar-study-digits", "prepare_data", LUMBAR, r"study_id is '²'; write digits", copy_of("lumbar", cell("train.csv", "study_id", "²"))),
    Row("lumbar-x-inf", "tune_kd", LUMBAR, r"x is 'inf'; write a number", copy_of("lumbar", cell("train_label_coordinates.csv", "x", "inf"))),
    Row("lumbar-x-huge", "train_one", LUMBAR, r"y is '1e300'; write a number", copy_of("lumbar", cell("train_label_coordinates.csv", "y", "1e300"))),
    Row("lumbar-instance", "prepare_data", LUMBAR, r"instance_number is '1.5'; write a whole", copy_of("lumbar", cell("train_label_coordinates.csv", "instance_number", "1.5"))),
    Row("lumbar-level", "prepare_data", LUMBAR, r"unknown level 'C1/C2'", copy_of("lumbar", cell("train_label_coordinates.csv", "level", "C1/C2"))),
    Row("lumbar-no-series", "prepare_data", LUMBAR, r"levels' slices .* are missing, .*--allow-missing", copy_of("lumbar", removed("train_images/*"))),
    Row("lumbar-cut", "prepare_data", LUMBAR, r"unusable of .*--allow-missing", copy_of("lumbar", cut("train_images/*/*/*.dcm", 900, at=10))),
    Row("lumbar-empty", "prepare_data", LUMBAR, r"train.csv: no column 'study_id'", copy_of("lumbar", content("train.csv", ""))),
    # STM scans
    Row("stm-no-table", "prepare_data", STM, r"no lines.csv", copy_of("stm", removed("lines.csv"))),
    Row("stm-line", "prepare_data", STM, r"has line 'one'; write the row of the scan", copy_of("stm", cell("lines.csv", "line", "one"))),
    Row("stm-line-outside", "train_one", STM, r"has line 999, but .* has lines 0-31", copy_of("stm", cell("lines.csv", "line", "999"))),
    Row("stm-scan-up", "prepare_data", STM, r"no scan file '../../x.npz'", copy_of("stm", cell("lines.csv", "scan", "../../x.npz"))),
    Row("stm-one-class", "prepare_data", STM, r"two or more", copy_of("stm", frame("lines.csv", lambda rows: rows.assign(label="clean")))),
    Row("stm-column", "prepare_data", STM, r"no column 'label'", copy_of("stm", frame("lines.csv", lambda rows: rows.rename(columns={"label": "class"})))),
    Row("stm-label-escape", "prepare_data", STM, r"label 'red\\x1b\[31m' holds control characters", copy_of("stm", cell("lines.csv", "label", "red\x1b[31m"))),
    Row("stm-bytes", "prepare_data", STM, r"1 unusable of .*--allow-missing", copy_of("stm", cut("**/*.npz", 200))),
    Row("stm-no-scan", "prepare_data", STM, r"no scan \(.npz", given_all(copy_of("stm"), lambda home: [p.unlink() for p in home.rglob("*.npz")])),
    # labelled images
    Row("images-column", "prepare_data", IMAGES + " --label-column colour", r"no column 'colour' for --label-column", copy_of("images")),
    Row("images-group", "prepare_data", IMAGES + " --group-column who", r"no column 'who' for --group-column", copy_of("images")),
    Row("images-twice", "prepare_data", IMAGES + " --label-column ill ill", r"'ill' is given twice", copy_of("images")),
    Row("images-two-files", "prepare_data", IMAGES, r"use --file-column", copy_of("images", frame("labels.csv", lambda t: t.assign(second=t["image"].to_numpy()[::-1])))),
    Row("images-nothing", "train_one", IMAGES, r"no image has any", copy_of("images", frame("labels.csv", lambda t: t.assign(ill="0")))),
    Row("images-names", "prepare_data", IMAGES, r"names images", copy_of("images", frame("labels.csv", lambda t: t.assign(image="x" + t["image"])))),
    Row("images-up", "prepare_data", IMAGES + " --file-column image", r"no column names images of the folder", copy_of("images", frame("labels.csv", lambda t: t.assign(image="../../../etc/" + t["image"])))),
    Row("images-no-table", "prepare_data", IMAGES, r"no folder of images", copy_of("images", removed("labels.csv"))),
    Row("images-empty-table", "prepare_data", IMAGES, r"labels.csv: not a table", copy_of("images", content("labels.csv", ""))),
    Row("images-header-twice", "prepare_data", IMAGES, r"two columns are named 'image'", copy_of("images", content("labels.csv", "image,image,ill\n000.png,000.png,1\n"))),
    Row("images-ragged", "prepare_data", IMAGES, r"row 2 has 3 fields, row 1 has 2", copy_of("images", content("labels.csv", "image,ill\n000.png,1,x\n"))),
    Row("images-label-escape", "prepare_data", IMAGES + " --label-column '\x1b[2J'", r"holds control characters|no column", copy_of("images", frame("labels.csv", lambda t: t.rename(columns={"ill": "\x1b[2J"})))),
    Row("images-kind", "prepare_data", IMAGES + " --kind multiclass --label-column patient ill", r"write 0, 1, yes, no, or nothing", copy_of("images")),
]
# fmt: on
