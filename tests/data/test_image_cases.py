"""The layouts people have: each data set is read as its owner means it, or asked about, and every answer works."""

import argparse
import gzip
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_cases import CASES, make

from xlite.commands.options import add_folder_options, column_overrides
from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.data.sources.folder_options import FolderOptions
from xlite.errors import InputError


@dataclass(frozen=True)
class Reads:
    """A case is read so.

    Attributes:
        counts: label -> positives; parts: part -> images; groups: how many patients, None: each image alone.
        says: what one of the notes holds.
    """

    kind: str
    counts: dict[str, int]
    parts: dict[str, int] | None = None
    groups: int | None = None
    says: str = ""


@dataclass(frozen=True)
class Asks:
    """A case is asked about, or refused, with this text; each of the answers reads it."""

    text: str
    answers: tuple[str, ...] = ()


MULTI, CLASSES = "multilabel", "multiclass"
AB = {"a": 20, "b": 20}
ISIC = dict.fromkeys(("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"), 6)
HAM = dict.fromkeys(("bcc", "bkl", "mel", "nv"), 14)
NIH_20000 = Reads(MULTI, {"Effusion": 23, "Mass": 22}, groups=40, says="missing: 19960 of 20000")
MURA = Reads(MULTI, {"abnormal": 24}, {"train": 36, "val": 12}, 48, "looks like MURA")
BREAKHIS = Reads(CLASSES, {"benign": 24, "malignant": 24}, groups=12, says="slides kept whole")
PADCHEST = Reads(
    MULTI, {"COPD signs": 8, "cardiomegaly": 24, "pleural effusion": 24, "unchanged": 8}, groups=12, says="PadChest"
)
TWO_FINDINGS = Reads(MULTI, {"edema": 20, "mass": 20})

EXPECTED: dict[str, Reads | Asks] = {
    # public data sets
    "chexpert_one_label": Reads(MULTI, {"Cardiomegaly": 15}, groups=24, says="uncertain (-1): 6 values"),
    "chexpert_renamed_top": Reads(MULTI, {"Cardiomegaly": 29, "Edema": 24}, groups=24),
    "label_option_repeated": Reads(MULTI, {"Cardiomegaly": 29, "Edema": 24, "Pneumonia": 20}, groups=24),
    "mimic_merged_validate": Reads(
        MULTI, {"Cardiomegaly": 22, "Edema": 24}, {"train": 24, "val": 8, "test": 8}, 10, "'validate' is val"
    ),
    "pad_list_labels": PADCHEST,
    "pad_list_labels_stated": PADCHEST,
    "vindr_mammo_list_one": Reads(MULTI, {"Mass": 32, "Skin Retraction": 16}, {"train": 36, "test": 12}, 12),
    "vinbigdata_png": Reads(
        MULTI, {"Aortic enlargement": 10, "Cardiomegaly": 20, "Pleural thickening": 10}, says="90 rows are joined"
    ),
    "rsna_pneumonia": Reads(MULTI, {"Target": 20}, says="stage_2_detailed_class_info.csv (three classes) is left out"),
    "rsna_pneumonia_one_table": Reads(MULTI, {"Target": 20}, says="left out: 10 rows that repeat another"),
    "nih_sample_in_images": Reads(MULTI, {"Atelectasis": 8, "Effusion": 24, "Mass": 16}, groups=20),
    "isic2019": Reads(CLASSES, ISIC, groups=40, says="16 images without one stand alone"),
    "isic2019_one_table": Reads(CLASSES, ISIC),
    "isic2019_stated": Reads(CLASSES, ISIC),
    "isic2019_merged_blank_lesion": Reads(CLASSES, ISIC, groups=28, says="4 images without one stand alone"),
    "ham10000_dataverse_tab": Reads(CLASSES, HAM, groups=28, says="looks like HAM10000"),
    "ham10000_no_suffix": Reads(CLASSES, HAM, groups=28),
    "aptos": Reads(CLASSES, dict.fromkeys("01234", 8), says="sample_submission.csv is a form"),
    "eyepacs": Reads(CLASSES, {"0": 10, "1": 10, "2": 10, "3": 10, "4": 8}, groups=24, says="both eyes"),
    "odir": Reads(
        CLASSES, {"A": 4, "C": 6, "D": 6, "G": 6, "H": 4, "M": 4, "N": 6, "O": 4}, groups=20, says="patient = ID"
    ),
    "kaggle_chest_xray": Reads(CLASSES, {"NORMAL": 42, "PNEUMONIA": 42}, {"train": 48, "val": 16, "test": 20}),
    "kaggle_chest_xray_nested_twice": Asks("test/ beside chest_xray/ could be a part or a class"),
    "mura": MURA,
    "mura_no_path_tables": MURA,
    "mura_folders": MURA,
    "breakhis_top": BREAKHIS,
    "breakhis_breast": BREAKHIS,
    "lc25000": Asks("colon_aca, colon_n, lung_aca, lung_n, lung_scc", ("--class-level 1", "--class-level 2")),
    "medmnist_export": Asks("row 1 names the image 'train0_0.png'"),
    "medmnist_export_headed": Reads(MULTI, {"label": 23}, {"train": 30, "val": 8, "test": 8}),
    "pcam_kaggle": Reads(MULTI, {"label": 20}, says="10 images on disk that train_labels.csv does not name"),
    "ranzcr_control": Reads(MULTI, {"ETT - Abnormal": 24, "ETT - Borderline": 16, "NGT - Normal": 12}, groups=16),
    "covid_metadata_y_n": Reads(
        CLASSES, {"No Finding": 10, "Pneumonia": 10, "Pneumonia/Viral/COVID-19": 10, "Unknown": 10}, groups=20
    ),
    "cbis_ddsm_three_files": Asks(
        "could each name the images",
        tuple(
            f"--file-column '{kind} file path' --label-column pathology"
            for kind in ("image", "cropped image", "ROI mask")
        ),
    ),
    "rfmid": Reads(MULTI, {"Disease_Risk": 36, "DR": 12, "ARMD": 12, "MH": 12}),
    "rsna_boneage": Asks("'male', 'boneage' could be labels", ("--label-column male",)),
    "rsna_boneage_stated": Asks("holds numbers (54 from 4 to 219)", ("--threshold-labels 120", "--kind multiclass")),
    "covid_ct_binary": Reads(MULTI, {"CT_COVID": 20}, says="'CT_COVID' is 1, 'CT_NonCOVID' is 0"),
    # tables as they are saved
    "abs_other_machine_same_top": Reads(CLASSES, AB),
    "abs_other_machine_renamed": Asks("'/home/anna/old_name/images/000.png' in the table", ("--file-column image",)),
    "abs_other_machine_renamed_stated": Reads(CLASSES, AB, says="differ from the files in folder alone"),
    "moved_to_sibling": Asks("'train/000.png' in the table, 'images/000.png' on disk", ("--file-column image",)),
    "other_suffix": Reads(CLASSES, AB, says="differ from the files in suffix alone"),
    "label_decimal_comma": Reads(MULTI, {"label": 20}),
    "labels_decimal_comma": Reads(MULTI, {"melanoma": 20, "nevus": 13}),
    "xlsx_two_folders": Asks("labels.xlsx: cannot be read as a table", ("--table none",)),
    "csv_names_do_not_fit_two_folders": Asks("on disk is 'part1/scan-000.png'", ("--table none",)),
    "pipe_delimited": Reads(CLASSES, AB),
    "comment_line_first": Reads(CLASSES, AB),
    "unnamed_0": Reads(CLASSES, AB),
    "unnamed_0_names_images": Asks("could each name the images", ("--file-column image",)),
    "index_column_only_match": Asks("'image' looks like the file names, but names no image", ("--file-column index",)),
    "r_na_class": Reads(CLASSES, {"a": 16, "b": 16}, says="8 images unknown"),
    "yes_no": Reads(CLASSES, {"no": 20, "yes": 20}),
    "yes_no_several": Reads(MULTI, {"edema": 20, "mass": 13}),
    "yes_no_several_stated": Reads(MULTI, {"edema": 20, "mass": 13}),
    "wahr_falsch": Reads(MULTI, {"edema": 20, "mass": 13}),
    "m_b_binary": Reads(MULTI, {"M": 20}),
    "malignant_then_normalish_binary": Reads(MULTI, {"tumor": 20}),
    "sick_well_binary": Reads(MULTI, {"disease": 20}),
    "minus1_unknown_joined_int": Asks("9 beside 0, 1", ("--unknown 9", "--unknown none")),
    "probabilities": Asks("holds numbers", ("--label-column p_melanoma --threshold-labels 0.5",)),
    "probabilities_stated": Asks("another value in nearly every row", ("--threshold-labels 0.5",)),
    "probabilities_binary": Asks("another value in nearly every row", ("--threshold-labels 0.5",)),
    "soft_votes_stated": Asks("5 from 0 to 1", ("--threshold-labels 0.5", "--kind multiclass")),
    "fold_column": Reads(MULTI, {"label": 20}, says="columns left out: fold"),
    "flags_with_covariates": Asks(
        "could be labels", ("--label-column melanoma", "--label-column melanoma --label-column biopsied")
    ),
    "split_dev": Reads(MULTI, {"label": 20}, {"train": 24, "val": 8, "test": 8}),
    "split_validate_class": Reads(CLASSES, AB, {"train": 24, "val": 8, "test": 8}),
    "split_external_class": Reads(CLASSES, AB, {"train": 16, "val": 8, "test": 16}, says="'external_test' is test"),
    "split_only_unnamed_class": Reads(CLASSES, AB, {"train": 24, "val": 8, "test": 8}),
    "table_train_val_folders": Reads(CLASSES, AB, {"train": 32, "val": 8}),
    "two_tables_same_images": Asks("each name images", ("--table labels.csv", "--table labels_v2.csv")),
    "label_in_second_table": Reads(CLASSES, {"x": 20, "y": 20}, groups=20, says="patients.csv is joined to it"),
    "patient_is_the_label": Asks("('control', 'patient') could be", ("--label-column patient",)),
    "german_columns": Reads(CLASSES, {"bösartig": 20, "gutartig": 20}, groups=10),
    # reports: patients, parts, codes
    "leading_zeros": Reads(CLASSES, AB, groups=20),
    "excel_ate_zeros": Asks("'0' in the table, 'images/00000.png' on disk", ("--file-column image",)),
    "patient_007_and_7": Reads(CLASSES, AB, groups=20, says="'000' and '0' are one"),
    "unknown_patient_words": Reads(CLASSES, AB, groups=40, says="26 images without one stand alone"),
    "class_only_in_val": Reads(CLASSES, {"a": 24, "b": 24, "c": 8}, {"train": 16, "val": 24, "test": 16}),
    "class_only_in_test": Reads(CLASSES, {"a": 24, "b": 24, "c": 8}, {"train": 16, "val": 16, "test": 24}),
    "empty_class_folder": Reads(CLASSES, {"a": 24, "b": 24}, dict.fromkeys(("train", "val", "test"), 16), says="c/"),
    "non_ascii_paths": Reads(CLASSES, {"Größe ø": 12, "健康": 12}),
    "grades_int_and_float": Reads(CLASSES, dict.fromkeys("0123", 10)),
    "two_images": Reads(CLASSES, {"a": 1, "b": 1}),
    "twice_same_label": Reads(CLASSES, AB, says="left out: 2 rows that repeat another"),
    "twice_other_label": Asks("correct the table, or join such rows", ("--kind multilabel",)),
    "long_format_multilabel": Reads(MULTI, {"edema": 17, "effusion": 16, "mass": 17}, says="10 rows are joined"),
    "blank_joined": Reads(MULTI, {"frog_eye_leaf_spot": 24, "rust": 16, "scab": 16}, says="healthy"),
    "plus_joined": TWO_FINDINGS,
    "slash_joined": TWO_FINDINGS,
    "two_separators": Reads(MULTI, {"edema": 27, "effusion": 7, "mass": 21}),
    "normal_beside_other": Reads(MULTI, {"No Finding": 10, "edema": 21, "mass": 20}, says="row 9 joins it to another"),
    "is_test_zero_one": Reads(
        MULTI, {"pneumonia": 20}, {"train": 32, "test": 8}, says="1 in 'test_set' is the test part"
    ),
    "unique_label": Asks("these are no classes"),
    "class_folders_with_quality_table": Asks("or the folders a, b", ("--table quality.csv", "--table none")),
    "data_is_the_csv": Asks("not a folder"),
    "two_sites_same_names": Asks("can be site_a/000.png or site_b/000.png"),
    "study_level_label_table": Reads(MULTI, {"label": 20}, says="names folders: each of their 40 images"),
    "splits_in_txt": Reads(CLASSES, AB, {"train": 30, "test": 10}, says="parts by the lists test.txt, train.txt"),
    "kaggle_flat_test": Reads(CLASSES, AB, says="drawn anew"),
    "train_only_and_holdout": Asks("train/ beside holdout/"),
    "big_table_few_images": NIH_20000,
    "big_table_few_images_one_folder": NIH_20000,
    "big_table_few_images_stated": NIH_20000,
    "noncancer_folders": Reads(CLASSES, {"Cancer": 20, "Non-Cancer": 20}),
    # formats, masks
    "busi_masks_beside": Reads(
        CLASSES, dict.fromkeys(("benign", "malignant", "normal"), 12), says="left out: 37 masks or drawings"
    ),
    "table_images_webp_masks_png": Reads(CLASSES, AB, says="left out: 40 masks"),
    "webp_gif_mixed_in": Reads(CLASSES, {"a": 24, "b": 24}),
    "webp_class_whole": Reads(CLASSES, {"a": 12, "b": 12, "c": 12}),
    "animated_gif": Reads(CLASSES, {"a": 12, "b": 12}, says="have several frames or pages"),
    "dicom_no_suffix_class_folders": Reads(CLASSES, AB),
    "dicom_some_without_suffix": Reads(CLASSES, {"a": 36, "b": 36, "c": 36}),
    "vinbigdata_dicom": Reads(MULTI, {"Aortic enlargement": 10, "Cardiomegaly": 20, "Pleural thickening": 10}),
    "cmyk_jpeg": Reads(CLASSES, {"a": 12, "b": 12}),
    "odd_sizes": Reads(CLASSES, {"a": 16, "b": 12}),
    "noise_without_masks": Reads(CLASSES, dict.fromkeys(("benign", "malignant", "normal"), 60)),
}
ONLY_LABELS = {
    "chexpert": (14, 24, None),
    "chexpert_certain": (14, 24, None),
    "chexpert_train_valid": (14, 29, {"train": 48, "val": 10}),
    "mimic_chexpert_and_split": (14, 10, {"train": 24, "val": 8, "test": 8}),
    "mimic_chexpert_and_metadata": (14, 10, None),
}
"""Cases of random labels: name -> number of labels, patients, parts."""


def read(folder: Path, arguments: list[str]) -> ParsedDataset:
    """Read a folder with a command line's options, parsed as the commands do."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_folder_options(parser)
    known, rest = parser.parse_known_args(arguments)
    return read_images(
        folder, allow_missing="--allow-missing" in rest, options=FolderOptions.of(column_overrides(known))
    )


def counts_of(parsed: ParsedDataset) -> dict[str, int]:
    positives = (parsed.table.targets == 1).sum(axis=0)
    return dict(zip(parsed.table.labels, map(int, positives), strict=True))


def parts_of(parsed: ParsedDataset) -> dict[str, int] | None:
    return None if parsed.table.official is None else dict(Counter(parsed.table.official.tolist()))


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if isinstance(expected, Reads)])
def test_a_data_set_is_read_as_its_owner_means_it(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    assert isinstance(expected, Reads)
    folder, arguments = make(name, tmp_path)
    parsed = read(folder, arguments)
    assert (parsed.kind, counts_of(parsed), parts_of(parsed)) == (expected.kind, expected.counts, expected.parts)
    assert len(set(parsed.table.groups)) == (len(parsed.table) if expected.groups is None else expected.groups)
    assert any(expected.says in note for note in parsed.notes), parsed.notes


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if isinstance(expected, Asks)])
def test_what_can_be_read_in_two_ways_is_asked_and_every_answer_works(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    assert isinstance(expected, Asks)
    folder, arguments = make(name, tmp_path)
    with pytest.raises(InputError) as caught:
        read(folder, arguments)
    message = str(caught.value)
    assert expected.text in message and "\n" not in message
    for answer in expected.answers:
        words = shlex.split(answer)
        assert words[0] in message
        assert len(read(folder, [*arguments, *words]).table)


@pytest.mark.parametrize("name", ONLY_LABELS)
def test_uncertain_findings_of_radiograph_sets_are_unknown_and_patients_kept(name: str, tmp_path: Path) -> None:
    folder, arguments = make(name, tmp_path)
    parsed = read(folder, arguments)
    num_labels, num_groups, parts = ONLY_LABELS[name]
    assert (len(parsed.table.labels), len(set(parsed.table.groups)), parts_of(parsed)) == (
        num_labels,
        num_groups,
        parts,
    )
    assert any("-1 = uncertain" in note and "--layout none" in note for note in parsed.notes)


@pytest.mark.parametrize(("policy", "positives"), [("positive", 21), ("negative", 15), ("ignore", 15)])
def test_uncertain_labels_follow_the_option(policy: str, positives: int, tmp_path: Path) -> None:
    folder, arguments = make("chexpert_one_label", tmp_path)
    parsed = read(folder, [*arguments, "--uncertain", policy])
    assert counts_of(parsed) == {"Cardiomegaly": positives}
    with pytest.raises(InputError, match=r"-1\.0 \(uncertain\)"):
        read(folder, [*arguments, "--uncertain", "error"])


def test_a_known_layout_can_be_read_plainly(tmp_path: Path) -> None:
    folder, _ = make("breakhis_breast", tmp_path)
    parsed = read(folder, ["--layout", "none", "--class-level", "1"])
    assert counts_of(parsed) == {"benign": 24, "malignant": 24}
    assert not any("looks like" in note for note in parsed.notes)
    with pytest.raises(InputError, match="not laid out as MURA"):
        read(folder, ["--layout", "mura"])
    with pytest.raises(InputError, match="use none or one of chexpert"):
        read(folder, ["--layout", "chestpert"])


def test_a_finding_that_one_of_chexpert_s_tables_lacks_is_unknown_there(tmp_path: Path) -> None:
    folder, _ = make("chexpert_train_valid", tmp_path)
    table = pd.read_csv(folder / "valid.csv", dtype=str)
    table.drop(columns=["Sex", "Fracture"]).to_csv(folder / "valid.csv", index=False)
    table = read(folder, []).table
    unknown = np.isnan(table.targets[:, table.labels.index("Fracture")])
    np.testing.assert_array_equal(unknown, table.official == "val")


def test_every_case_has_an_expectation() -> None:
    elsewhere = {name for name in CASES if name.startswith(("dicom_", "twins_"))} | {"ten_thousand", "lfs_pointers"}
    assert set(CASES) - elsewhere <= set(EXPECTED) | set(ONLY_LABELS) <= set(CASES)


def test_compressed_tables_of_a_known_layout_are_recognised(tmp_path: Path) -> None:
    folder, arguments = make("mimic_chexpert_and_split", tmp_path)
    for table in folder.glob("*.csv"):
        table.with_name(f"{table.name}.gz").write_bytes(gzip.compress(table.read_bytes()))
        table.unlink()
    assert parts_of(read(folder, arguments)) == {"train": 24, "val": 8, "test": 8}
    folder, arguments = make("chexpert_certain", tmp_path / "chexpert")
    table = folder / "train.csv"
    table.with_name("train.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    assert any("looks like CheXpert" in note for note in read(folder, arguments).notes)
