"""Tables as people save them."""

import numpy as np

from image_cases.drawing import case, save, table_of, text


@case()
def abs_other_machine_same_top(out):
    table_of(out, row=lambda i: f"C:\\Users\\Anna\\{out.name}\\images\\{i:03d}.png,{'ab'[i % 2]}")


@case()
def abs_other_machine_renamed(out):
    table_of(out, row=lambda i: f"/home/anna/old_name/images/{i:03d}.png,{'ab'[i % 2]}")


@case("--file-column", "image")
def abs_other_machine_renamed_stated(out):
    abs_other_machine_renamed(out)


@case()
def moved_to_sibling(out):
    "fastai #894: the table says train/, the files lie in images/"
    table_of(out, row=lambda i: f"train/{i:03d}.png,{'ab'[i % 2]}")


@case()
def other_suffix(out):
    table_of(out, row=lambda i: f"{i:03d}.jpg,{'ab'[i % 2]}")


@case()
def label_decimal_comma(out):
    "German Excel: 1,0 and 0,0"
    table_of(out, header="image;label", row=lambda i: f"{i:03d}.png;{i % 2},0")


@case()
def labels_decimal_comma(out):
    table_of(out, header="image;melanoma;nevus", row=lambda i: f"{i:03d}.png;{i % 2},0;{i % 3 // 2},0")


@case()
def xlsx_two_folders(out):
    for i in range(40):
        save(out / f"part{1 + i // 20}" / f"{i:03d}.png", i, i % 2)
    (out / "labels.xlsx").write_bytes(b"PK\3\4")


@case()
def csv_names_do_not_fit_two_folders(out):
    "a table lies there, but its names fit no file (ids of another kind): the part folders become the classes"
    for i in range(40):
        save(out / f"part{1 + i // 20}" / f"scan-{i:03d}.png", i, i % 2)
    text(out / "labels.csv", "image,label", *(f"{i:03d},{i % 2}" for i in range(40)))


@case()
def pipe_delimited(out):
    table_of(out, header="image|label", row=lambda i: f"{i:03d}.png|{'ab'[i % 2]}")


@case()
def comment_line_first(out):
    table_of(out, header="# exported 2024-01-01\nimage,label")


@case()
def unnamed_0(out):
    table_of(out, header="Unnamed: 0,image,label", row=lambda i: f"{i},{i:03d}.png,{'ab'[i % 2]}")


@case()
def unnamed_0_names_images(out):
    "images 0.png ... 39.png; the index column names images too, but shuffled"
    order = np.random.default_rng(0).permutation(40)
    for i in range(40):
        save(out / "images" / f"{i}.png", i, i % 2)
    text(out / "labels.csv", "Unnamed: 0,image,label", *(f"{k},{i},{'ab'[i % 2]}" for k, i in enumerate(order)))


@case()
def index_column_only_match(out):
    "pandas' index names 0.png ... by chance; the true names have lost their zeros' match (file 'im_000')"
    for i in range(40):
        save(out / "images" / f"{i}.png", i, i % 2)
    text(out / "labels.csv", "index,image,label", *(f"{39 - i},im_{i:03d},{'ab'[i % 2]}" for i in range(40)))


@case()
def r_na_class(out):
    "R: write.csv: quotes, row names, NA"
    table_of(
        out,
        header='"","image","label"',
        row=lambda i: f'"{i + 1}","{i:03d}.png",' + ("NA" if i % 5 == 0 else f'"{"ab"[i % 2]}"'),
    )


@case()
def yes_no(out):
    table_of(out, row=lambda i: f"{i:03d}.png,{['no', 'yes'][i % 2]}")


@case()
def yes_no_several(out):
    table_of(
        out, header="image,edema,mass", row=lambda i: f"{i:03d}.png,{['no', 'yes'][i % 2]},{['no', 'yes'][i % 3 // 2]}"
    )


@case("--label-column", "edema", "mass")
def yes_no_several_stated(out):
    yes_no_several(out)


@case()
def wahr_falsch(out):
    table_of(
        out,
        header="image;edema;mass",
        row=lambda i: f"{i:03d}.png;{['FALSCH', 'WAHR'][i % 2]};{['FALSCH', 'WAHR'][i % 3 // 2]}",
    )


@case("--kind", "binary")
def m_b_binary(out):
    table_of(out, row=lambda i: f"{i:03d}.png,{'BM'[i % 2]}")


@case("--kind", "binary")
def malignant_then_normalish_binary(out):
    table_of(out, row=lambda i: f"{i:03d}.png,{['tumor', 'non-tumor'][i % 2]}")


@case("--kind", "binary")
def sick_well_binary(out):
    table_of(out, row=lambda i: f"{i:03d}.png,{['disease', 'no disease'][i % 2]}")


@case()
def minus1_unknown_joined_int(out):
    table_of(out, header="image,label", row=lambda i: f"{i:03d}.png,{[0, 1, 9][i % 3]}")


@case()
def probabilities(out):
    table_of(out, header="image,p_melanoma", row=lambda i: f"{i:03d}.png,{i / 41:.3f}")


@case("--label-column", "p_melanoma")
def probabilities_stated(out):
    probabilities(out)


@case("--label-column", "label", "--kind", "binary")
def probabilities_binary(out):
    table_of(out, row=lambda i: f"{i:03d}.png,{i / 41:.3f}")


@case("--label-column", "malignancy")
def soft_votes_stated(out):
    "LIDC-like means of four readers: 0, 0.25 ... 1: float votes become classes"
    table_of(out, header="image,malignancy", row=lambda i: f"{i:03d}.png,{i % 5 / 4}")


@case()
def fold_column(out):
    table_of(out, header="image,label,fold", row=lambda i: f"{i:03d}.png,{i % 2},{i % 5}")


@case()
def flags_with_covariates(out):
    table_of(
        out,
        header="image,melanoma,has_ruler,hair_present,biopsied",
        row=lambda i: f"{i:03d}.png,{i % 2},{i % 3 // 2},{i % 7 // 5},{i % 4 // 3}",
    )


@case()
def split_dev(out):
    table_of(
        out,
        header="image,label,set",
        row=lambda i: f"{i:03d}.png,{i % 2},{['Train', 'Train', 'Train', 'dev', 'Test'][i // 2 % 5]}",
    )


@case()
def split_validate_class(out):
    table_of(
        out,
        header="image,label,split",
        row=lambda i: f"{i:03d}.png,{'ab'[i % 2]},{['train', 'train', 'train', 'validate', 'test'][i // 2 % 5]}",
    )


@case()
def split_external_class(out):
    table_of(
        out,
        header="image,label,split",
        row=lambda i: f"{i:03d}.png,{'ab'[i % 2]},{['train', 'train', 'val', 'test', 'external_test'][i // 2 % 5]}",
    )


@case()
def split_only_unnamed_class(out):
    table_of(
        out,
        header="image,kind of lesion,split",
        row=lambda i: f"{i:03d}.png,{'ab'[i % 2]},{['train', 'train', 'train', 'tuning', 'test'][i // 2 % 5]}",
    )


@case()
def table_train_val_folders(out):
    "images in train/ and val/, a table names both, no test: are the folders kept as parts?"
    lines = []
    for i in range(40):
        part = "val" if i % 5 == 0 else "train"
        save(out / part / f"{i:03d}.png", i, i // 5 % 2)
        lines.append(f"{i:03d}.png,{'ab'[i // 5 % 2]}")
    text(out / "labels.csv", "image,label", *lines)


@case()
def two_tables_same_images(out):
    table_of(out)
    table_of(out, name="labels_v2.csv", row=lambda i: f"{i:03d}.png,{'ba'[i % 2]}")


@case()
def label_in_second_table(out):
    table_of(
        out, name="images.csv", header="image,patient_id,site", row=lambda i: f"{i:03d}.png,{i // 2},{'AB'[i % 2]}"
    )
    text(out / "patients.csv", "patient_id,diagnosis", *(f"{i},{['x', 'y'][i % 2]}" for i in range(20)))


@case()
def patient_is_the_label(out):
    table_of(out, header="image,patient", row=lambda i: f"{i:03d}.png,{['control', 'patient'][i % 2]}")


@case()
def german_columns(out):
    table_of(
        out,
        header="Datei;Befund;Patientennummer",
        row=lambda i: f"{i:03d}.png;{['gutartig', 'bösartig'][i // 2 % 2]};{i // 4}",
    )
