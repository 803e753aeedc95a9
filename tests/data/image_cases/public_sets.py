"""Layouts of other public data sets, at toy size."""

import shutil

from image_cases.drawing import case, mask, save, text

ISIC = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]


@case()
def isic2019(out):
    lines, meta = [], []
    for i in range(48):
        name = f"ISIC_{i:07d}" + ("_downsampled" if i % 7 == 0 else "")
        save(out / "ISIC_2019_Training_Input" / f"{name}.jpg", i, i % 8, colour=True)
        lines.append(name + "," + ",".join("1.0" if j == i % 8 else "0.0" for j in range(9)))
        meta.append(f"{name},55.0,anterior torso,{f'MSK4_{i // 2:07d}' if i % 3 else ''},female")
    text(out / "ISIC_2019_Training_GroundTruth.csv", "image," + ",".join(ISIC), *lines)
    text(out / "ISIC_2019_Training_Metadata.csv", "image,age_approx,anatom_site_general,lesion_id,sex", *meta)


@case()
def isic2019_one_table(out):
    isic2019(out)
    (out / "ISIC_2019_Training_Metadata.csv").unlink()


@case("--label-column", *ISIC[:8])
def isic2019_stated(out):
    isic2019_one_table(out)


def ham(out, table):
    lines = []
    for i in range(56):
        save(out / f"HAM10000_images_part_{1 + i // 28}" / f"ISIC_{24306 + i:07d}.jpg", i, i % 7, colour=True)
        lines.append(
            f"HAM_{i // 2:07d},ISIC_{24306 + i:07d},{['bkl', 'nv', 'mel', 'bcc'][i // 2 % 4]},{['histo', 'consensus'][i % 2]},80.0,male,scalp"
        )
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    if table.endswith(".tab"):
        header = header.replace(",", "\t")
        lines = ["\t".join(f'"{c}"' if c[:1].isalpha() else c for c in li.split(",")) for li in lines]
    text(out / table, header, *lines)


@case()
def ham10000_dataverse_tab(out):
    ham(out, "HAM10000_metadata.tab")


@case()
def ham10000_no_suffix(out):
    ham(out, "HAM10000_metadata")


@case()
def aptos(out):
    for i in range(40):
        save(out / "train_images" / f"{i:012x}.png", i, i % 5, colour=True)
    for i in range(40, 50):
        save(out / "test_images" / f"{i:012x}.png", i, 0, colour=True)
    text(out / "train.csv", "id_code,diagnosis", *(f"{i:012x},{i % 5}" for i in range(40)))
    text(out / "test.csv", "id_code", *(f"{i:012x}" for i in range(40, 50)))
    text(out / "sample_submission.csv", "id_code,diagnosis", *(f"{i:012x},0" for i in range(40, 50)))


@case()
def eyepacs(out):
    names = [f"{10 + i // 2}_{['left', 'right'][i % 2]}" for i in range(48)]
    for i, name in enumerate(names):
        save(out / "train" / f"{name}.jpeg", i, i % 5, colour=True)
    text(out / "trainLabels.csv", "image,level", *(f"{n},{i // 2 % 5}" for i, n in enumerate(names)))


@case(sub="ODIR-5K")
def odir(out):
    lines = []
    for i in range(40):
        p = i // 2
        f = f"{p}_{'right' if i % 2 == 0 else 'left'}.jpg"
        save(out / "ODIR-5K/Training Images" / f, i, p % 2, colour=True)
        hot = [int(j == p % 8) for j in range(8)]
        lines.append(
            f"{p},69,Female,{p}_left.jpg,{p}_right.jpg,cataract,normal fundus,{','.join(map(str, hot))},../input/ocular-disease-recognition-odir5k/ODIR-5K/Training Images/{f},['{'NDGCAHMO'[p % 8]}'],\"{[int(j == p % 8) for j in range(8)]}\",{f}"
        )
    text(
        out / "ODIR-5K/full_df.csv",
        "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,N,D,G,C,A,H,M,O,filepath,labels,target,filename",
        *lines,
    )


@case(sub="chest_xray")
def kaggle_chest_xray(out):
    for part, n in (("train", 24), ("val", 8), ("test", 10)):
        for i in range(n):
            save(out / f"chest_xray/{part}/NORMAL/IM-{i + len(part):04d}-0001.jpeg", i, 0)
            save(
                out / f"chest_xray/{part}/PNEUMONIA/person{i // 2}_{'bacteria' if i % 2 else 'virus'}_{i}.jpeg",
                i + 100,
                1,
            )
        (out / f"chest_xray/{part}/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (out / "chest_xray/__MACOSX/train").mkdir(parents=True)
    (out / "chest_xray/__MACOSX/train/._IM-0001.jpeg").write_bytes(b"\0\5\x16\7")


@case(sub="chest_xray")
def kaggle_chest_xray_nested_twice(out):
    "the zip of 2018 holds itself once more: chest_xray/chest_xray/"
    kaggle_chest_xray(out)
    shutil.copytree(out / "chest_xray", out / "tmp")
    (out / "tmp").rename(out / "chest_xray/chest_xray")


@case(sub="Dataset_BUSI_with_GT")
def busi_masks_beside(out):
    top = out / "Dataset_BUSI_with_GT"
    for c, name in enumerate(["benign", "malignant", "normal"]):
        for i in range(12):
            save(top / name / f"{name} ({i + 1}).png", 100 * c + i, c)
            mask(top / name / f"{name} ({i + 1})_mask.png", i)
    mask(top / "benign" / "benign (4)_mask_1.png")


@case(sub="MURA-v1.1")
def mura(out):
    paths, studies = {"train": [], "valid": []}, {"train": [], "valid": []}
    for i in range(48):
        part = "valid" if i % 4 == 3 else "train"
        study = f"MURA-v1.1/{part}/{['XR_SHOULDER', 'XR_HAND', 'XR_WRIST'][i % 3]}/patient{i:05d}/study1_{['positive', 'negative'][i // 3 % 2]}/"
        save(out / study / "image1.png", i, i // 3 % 2)
        (out / study / "._image1.png").write_bytes(b"\0\5\x16\7")
        paths[part].append(study + "image1.png")
        studies[part].append(f"{study},{1 - i // 3 % 2}")
    for part in paths:
        text(out / f"MURA-v1.1/{part}_image_paths.csv", *paths[part])
        text(out / f"MURA-v1.1/{part}_labeled_studies.csv", *studies[part])


@case(sub="MURA-v1.1")
def mura_no_path_tables(out):
    mura(out)
    [(out / f"MURA-v1.1/{p}_image_paths.csv").unlink() for p in ("train", "valid")]


@case("--split", "patient", sub="MURA-v1.1")
def mura_folders(out):
    mura(out)
    [p.unlink() for p in (out / "MURA-v1.1").glob("*.csv")]


def breakhis(out):
    for i in range(48):
        c = i // 24
        slide = f"SOB_{'BM'[c]}_{['A', 'DC'][c]}-14-{22549 + i // 4}AB"
        kind = [["adenosis", "fibroadenoma"], ["ductal_carcinoma", "lobular_carcinoma"]][c][i // 12 % 2]
        zoom = [40, 100, 200, 400][i % 4]
        save(
            out
            / f"BreaKHis_v1/histology_slides/breast/{['benign', 'malignant'][c]}/SOB/{kind}/{slide}/{zoom}X/{slide}-{zoom}-001.png",
            i,
            c,
            colour=True,
        )


@case(sub="BreaKHis_v1")
def breakhis_top(out):
    breakhis(out)


@case(sub="BreaKHis_v1/histology_slides/breast")
def breakhis_breast(out):
    breakhis(out)


@case(sub="lung_colon_image_set")
def lc25000(out):
    for c, name in enumerate(
        [
            "colon_image_sets/colon_aca",
            "colon_image_sets/colon_n",
            "lung_image_sets/lung_aca",
            "lung_image_sets/lung_n",
            "lung_image_sets/lung_scc",
        ]
    ):
        for i in range(10):
            save(out / "lung_colon_image_set" / name / f"{name.split('/')[1]}{i}.jpeg", 10 * c + i, c, colour=True)


@case()
def medmnist_export(out):
    lines = []
    for part, n in (("TRAIN", 30), ("VALIDATION", 8), ("TEST", 8)):
        for i in range(n):
            save(out / "pneumoniamnist" / f"{part.lower()}{i}_{i % 2}.png", i, i % 2, size=28)
            lines.append(f"{part},{part.lower()}{i}_{i % 2}.png,{i % 2}")
    text(out / "pneumoniamnist.csv", *lines)


@case()
def medmnist_export_headed(out):
    medmnist_export(out)
    p = out / "pneumoniamnist.csv"
    p.write_text("split,filename,label\n" + p.read_text())


@case()
def pcam_kaggle(out):
    for i in range(40):
        save(out / "train" / f"{i:040x}.tif", i, i % 2, colour=True)
    for i in range(40, 50):
        save(out / "test" / f"{i:040x}.tif", i, 0, colour=True)
    text(out / "train_labels.csv", "id,label", *(f"{i:040x},{i % 2}" for i in range(40)))
    text(out / "sample_submission.csv", "id,label", *(f"{i:040x},0" for i in range(40, 50)))


@case()
def ranzcr_control(out):
    lines = []
    for i in range(48):
        uid = f"1.2.826.0.1.3680043.8.498.{i + 10**10}"
        save(out / "train" / f"{uid}.jpg", i, i % 2)
        lines.append(f"{uid},{i % 2},{i % 3 // 2},{int(i % 4 == 1)},{i // 3:012x}")
    text(out / "train.csv", "StudyInstanceUID,ETT - Abnormal,ETT - Borderline,NGT - Normal,PatientID", *lines)


@case()
def covid_metadata_y_n(out):
    "ieee8023 covid-chestxray-dataset's metadata.csv, shortened"
    lines = []
    for i in range(40):
        save(out / "images" / f"cov{i}.jpg", i, i % 2)
        lines.append(
            f'{i // 2},{i % 2 * 3}.0,M,65.0,{["Pneumonia/Viral/COVID-19", "Pneumonia", "No Finding", "Unknown"][i % 4]},{"Y" if i % 4 == 0 else ""},{"N" if i % 5 else "Y"},PA,X-ray,"January 22, 2020","Cho Ray Hospital, Vietnam",images,cov{i}.jpg'
        )
    text(
        out / "metadata.csv",
        "patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,date,location,folder,filename",
        *lines,
    )


@case()
def cbis_ddsm_three_files(out):
    lines = []
    for i in range(40):
        stem = f"Calc-Training_P_{i // 2:05d}_{'LEFT' if i % 2 else 'RIGHT'}_CC"
        for k, extra in enumerate(("", "_1")):
            (save if k == 0 else lambda p, *a: mask(p))(out / f"{stem}{extra}/1.3.6.{i}/00000{k}.png", i, i % 2)
        lines.append(
            f'P_{i // 2:05d},3,{"LEFT" if i % 2 else "RIGHT"},CC,1,calcification,AMORPHOUS,CLUSTERED,4,{["MALIGNANT", "BENIGN", "BENIGN_WITHOUT_CALLBACK"][i % 3]},3,{stem}/1.3.6.{i}/000000.png,{stem}_1/1.3.6.{i}/000001.png,"{stem}_1/1.3.6.{i}/000001.png\n"'
        )
    text(
        out / "calc_case_description_train_set.csv",
        "patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,calc type,calc distribution,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path",
        *lines,
    )
