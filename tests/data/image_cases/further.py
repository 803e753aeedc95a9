"""Further layouts, found while testing."""

import cv2
import numpy as np
from PIL import Image

from image_cases.drawing import case, mask, pic, save, table_of, text
from image_cases.public_sets import ISIC
from image_cases.radiographs import chexpert_certain, pad_list_labels


@case("--label-column", "Labels")
def pad_list_labels_stated(out):
    pad_list_labels(out)


@case(sub="Training_Set")
def rfmid(out):
    for i in range(1, 49):
        save(out / "Training_Set/Training" / f"{i}.png", i, i % 2, colour=True)
    text(
        out / "Training_Set/RFMiD_Training_Labels.csv",
        "ID,Disease_Risk,DR,ARMD,MH",
        *(f"{i},{i % 4 != 0:d},{i % 4 == 1:d},{i % 4 == 2:d},{i % 4 == 3:d}" for i in range(1, 49)),
    )


@case("--kind", "multiclass", "--label-column", *ISIC[:8])
def isic2019_merged_blank_lesion(out):
    "2,084 of ISIC 2019's images have no lesion_id: the merged table cannot be grouped"
    lines = []
    for i in range(48):
        save(out / "images" / f"ISIC_{i:07d}.jpg", i, i % 8, colour=True)
        lines.append(
            f"ISIC_{i:07d},"
            + ",".join("1.0" if j == i % 8 else "0.0" for j in range(8))
            + f",{f'MSK4_{i // 2:07d}' if i % 12 else ''},female"
        )
    text(out / "labels.csv", "image," + ",".join(ISIC[:8]) + ",lesion_id,sex", *lines)


@case()
def table_images_webp_masks_png(out):
    "the table names 'im_003'; the picture is images/im_003.webp (not read), the mask masks/im_003.png (read!)"
    for i in range(40):
        (out / "images").mkdir(exist_ok=True)
        Image.fromarray(pic(i, i % 2)).save(out / "images" / f"im_{i:03d}.webp")
        mask(out / "masks" / f"im_{i:03d}.png", i)
    text(out / "labels.csv", "image,label", *(f"im_{i:03d},{'ab'[i % 2]}" for i in range(40)))


@case()
def class_folders_with_quality_table(out):
    lines = []
    for c in "ab":
        for i in range(12):
            save(out / c / f"{c}{i}.png", i, "ab".index(c))
            lines.append(f"{c}/{c}{i}.png,{['good', 'poor'][i % 2]}")
    text(out / "quality.csv", "path,quality", *lines)


@case(sub="labels.csv")
def data_is_the_csv(out):
    table_of(out)


@case()
def lfs_pointers(out):
    for c in "ab":
        for i in range(12):
            text(
                out / c / f"{i}.png", "version https://git-lfs.github.com/spec/v1", f"oid sha256:{i:064x}", "size 12345"
            )


@case()
def rsna_boneage(out):
    rng = np.random.default_rng(0)
    lines = []
    for i in range(60):
        save(out / "boneage-training-dataset" / f"{1377 + i}.png", i, i % 2)
        lines.append(f"{1377 + i},{int(rng.integers(4, 220))},{bool(i % 2)}")
    text(out / "boneage-training-dataset.csv", "id,boneage,male", *lines)


@case("--label-column", "boneage")
def rsna_boneage_stated(out):
    rsna_boneage(out)


@case("--kind", "binary")
def covid_ct_binary(out):
    for c, name in enumerate(["CT_COVID", "CT_NonCOVID"]):
        for i in range(20):
            save(out / name / f"{i}.png", 100 * c + i, c)


@case()
def unique_label(out):
    "the column 'label' is the image's own name once more"
    table_of(out, row=lambda i: f"{i:03d}.png,img{i}")


@case()
def is_test_zero_one(out):
    "one 0/1 label and a 0/1 column for the held-out test set"
    table_of(out, header="image,pneumonia,test_set", row=lambda i: f"{i:03d}.png,{i % 2},{i // 2 % 5 == 0:d}")


@case()
def two_sites_same_names(out):
    "site_a/001.png and site_b/001.png; the table has a column for the folder"
    lines = []
    for site in "ab":
        for i in range(20):
            save(out / f"site_{site}" / f"{i:03d}.png", i + 50 * (site == "b"), i % 2)
            lines.append(f"site_{site},{i:03d}.png,{'xy'[i % 2]}")
    text(out / "labels.csv", "folder,file,label", *lines)


@case()
def study_level_label_table(out):
    "MURA, MIMIC: the label belongs to a folder of images, the table names the folder"
    lines = []
    for i in range(20):
        for k in range(2):
            save(out / f"images/patient{i:05d}/study1/image{k}.png", 2 * i + k, i % 2)
        lines.append(f"images/patient{i:05d}/study1/,{i % 2}")
    text(out / "labels.csv", "study,label", *lines)


@case()
def splits_in_txt(out):
    "train.txt / test.txt lists beside class folders (COVIDx, NIH): are they seen?"
    for c in "ab":
        for i in range(20):
            save(out / c / f"{c}{i}.png", i, "ab".index(c))
    text(out / "train.txt", *(f"{c}/{c}{i}.png" for c in "ab" for i in range(15)))
    text(out / "test.txt", *(f"{c}/{c}{i}.png" for c in "ab" for i in range(15, 20)))


@case()
def kaggle_flat_test(out):
    "train/<class>/, and test/ flat without labels"
    for c in "ab":
        for i in range(20):
            save(out / "train" / c / f"{i}.png", i, "ab".index(c))
    for i in range(10):
        save(out / "test" / f"{i}.png", i)


@case()
def train_only_and_holdout(out):
    for part in ("train", "holdout"):
        for c in "ab":
            for i in range(15):
                save(out / part / c / f"{i}.png", i, "ab".index(c))


@case("--allow-missing")
def big_table_few_images(out):
    "20,000 rows, 40 of the images there in two part folders: the table is looked at in 500 places and not recognised"
    rng = np.random.default_rng(0)
    rows = [f"{i:08d}_000.png,{['No Finding', 'Mass', 'Effusion', 'Mass|Effusion'][i % 4]},{i}" for i in range(20000)]
    for k, i in enumerate(sorted(rng.choice(20000, 40, replace=False))):
        save(out / f"images_00{1 + k // 20}" / f"{i:08d}_000.png", int(i), int(i) % 2)
    text(out / "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID", *rows)


@case("--allow-missing")
def big_table_few_images_one_folder(out):
    big_table_few_images(out)
    (out / "images_001").rename(out / "images")
    [p.rename(out / "images" / p.name) for p in (out / "images_002").iterdir()]
    (out / "images_002").rmdir()


@case("--file-column", "Image Index", "--allow-missing")
def big_table_few_images_stated(out):
    big_table_few_images(out)


@case()
def unknown_patient_words(out):
    table_of(
        out,
        header="image,patient_id,label",
        row=lambda i: f"{i:03d}.png,{['unknown', f'p{i}'][i % 3 == 0]},{'ab'[i % 2]}",
    )


@case()
def noncancer_folders(out):
    for c, name in enumerate(["Cancer", "Non-Cancer"]):
        for i in range(20):
            save(out / name / f"{i}.png", 100 * c + i, c)


@case(
    "--label-column",
    "Cardiomegaly",
    "--label-column",
    "Edema",
    "--label-column",
    "Pneumonia",
    sub="CheXpert-v1.0-small",
)
def label_option_repeated(out):
    "what the product's own question says: '(several: repeat it)'"
    chexpert_certain(out)


def noise(out, with_masks):
    "BUSI's layout; the pictures are noise, so only the masks can tell the classes apart: tune_kd --trials 2 --max-epochs 8"
    rng = np.random.default_rng(5)
    for c, name in enumerate(["benign", "malignant", "normal"]):
        for i in range(1, 61):
            a = cv2.GaussianBlur(rng.normal(110, 40, (64, 64)), (0, 0), 1.5)
            a = (a - a.min()) / np.ptp(a) * 255
            (out / name).mkdir(exist_ok=True)
            Image.fromarray(a.astype(np.uint8)).save(out / name / f"{name} ({i}).png")
            if with_masks:
                m, (x, y) = np.zeros((64, 64), np.uint8), rng.integers(20, 44, 2)
                if c == 0:
                    cv2.ellipse(m, (int(x), int(y)), (12, 7), 0, 0, 360, 255, -1)
                if c == 1:
                    turn, r = np.linspace(0, 2 * np.pi, 18, endpoint=False), 12 + rng.normal(0, 4, 18)
                    cv2.fillPoly(m, [np.c_[x + r * np.cos(turn), y + r * np.sin(turn)].astype(np.int32)], 255)
                Image.fromarray(m).save(out / name / f"{name} ({i})_mask.png")


@case()
def noise_without_masks(out):
    noise(out, False)
