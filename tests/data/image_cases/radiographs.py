"""Layouts of public sets of chest radiographs, at toy size."""

import numpy as np

from image_cases.drawing import case, dcm, pic, save, text

CHEX = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def chex_rows(root, out, part="train", n=48, uncertain=True, top="CheXpert-v1.0-small"):
    rng = np.random.default_rng(1)
    lines = []
    for i in range(n):
        path = f"{part}/patient{i // 2 + 1:05d}/study{i % 2 + 1}/view1_frontal.jpg"
        save(root / path, i, i % 2)
        values = ["1.0" if i % 5 == 0 else ""] + [
            str(rng.choice(["1.0", "0.0", "-1.0", ""] if uncertain else ["1.0", "0.0"])) for _ in range(13)
        ]
        lines.append(
            f"{top}/{path},{'Female' if i % 3 else 'Male'},{40 + i},Frontal,{'AP' if i % 2 else 'PA'},"
            + ",".join(values)
        )
    text(root / f"{part}.csv", "Path,Sex,Age,Frontal/Lateral,AP/PA," + CHEX, *lines)


@case(sub="CheXpert-v1.0-small")
def chexpert(out):
    chex_rows(out / "CheXpert-v1.0-small", out)


@case("--label-column", "Cardiomegaly", sub="CheXpert-v1.0-small")
def chexpert_one_label(out):
    chex_rows(out / "CheXpert-v1.0-small", out)


@case(sub="CheXpert-v1.0-small")
def chexpert_certain(out):
    "U-zeros already applied, blank and -1 gone: only the reading of the other columns is asked"
    chex_rows(out / "CheXpert-v1.0-small", out, uncertain=False)


@case("--label-column", "Cardiomegaly", "Edema", sub="chexpert")
def chexpert_renamed_top(out):
    chex_rows(out / "chexpert", out, uncertain=False)


@case(sub="CheXpert-v1.0-small")
def chexpert_train_valid(out):
    chex_rows(out / "CheXpert-v1.0-small", out, uncertain=False)
    chex_rows(out / "CheXpert-v1.0-small", out, "valid", 10, uncertain=False)


MIMIC = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)


def mimic_items(out, n=40):
    for i in range(n):
        subject, study = 10000032 + i // 4, 50414267 + i // 2
        dicom = f"{i:08x}-8bc9b1ab-e5b3d6f0-0b9bf1ed-{i:08x}"
        save(out / f"files/p10/p{subject}/s{study}/{dicom}.jpg", i, i % 2)
        yield i, subject, study, dicom


def mimic_all_tables(out):
    rng = np.random.default_rng(2)
    items = list(mimic_items(out))
    studies = sorted({(subject, study) for _, subject, study, _ in items})
    parts = ["train", "train", "train", "validate", "test"]
    text(
        out / "mimic-cxr-2.0.0-chexpert.csv",
        "subject_id,study_id," + MIMIC,
        *(f"{s},{t}," + ",".join(rng.choice(["1.0", "0.0", "-1.0", ""], 14).tolist()) for s, t in studies),
    )
    text(
        out / "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split",
        *(f"{dicom},{study},{subject},{parts[subject % 5]}" for _, subject, study, dicom in items),
    )
    text(
        out / "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns",
        *(
            f"{dicom},{subject},{study},CHEST (PA AND LAT),{['PA', 'LATERAL'][i % 2]},3056,2544"
            for i, subject, study, dicom in items
        ),
    )


@case()
def mimic_chexpert_and_split(out):
    mimic_all_tables(out)
    (out / "mimic-cxr-2.0.0-metadata.csv").unlink()


@case()
def mimic_chexpert_and_metadata(out):
    mimic_all_tables(out)
    (out / "mimic-cxr-2.0.0-split.csv").unlink()


@case()
def mimic_merged_validate(out):
    "the usual pandas merge, U-zeros; split holds MIMIC's own word 'validate'"
    rng = np.random.default_rng(0)
    text(
        out / "mimic.csv",
        "dicom_id,subject_id,study_id,split,Cardiomegaly,Edema",
        *(
            f"{d},{s},{t},{['train', 'train', 'train', 'validate', 'test'][s % 5]},{rng.integers(2)}.0,{rng.integers(2)}.0"
            for i, s, t, d in mimic_items(out)
        ),
    )


PAD = [
    "['normal']",
    "['cardiomegaly', 'pleural effusion']",
    "['pleural effusion']",
    "['cardiomegaly']",
    "['COPD signs', 'cardiomegaly', 'pleural effusion']",
    "['unchanged']",
]


@case()
def pad_list_labels(out):
    for i in range(48):
        save(out / "images" / f"{i}_abc.png", i, i % 4)
    text(
        out / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,MethodLabel,Labels,Localizations",
        *(
            f"{i},{i}_abc.png,0,20140915,2048_{i // 2},8466{i // 4},1930.0,{'MF'[i % 2]},POSTEROANTERIOR,PA,{'Physician' if i % 3 else 'RNN_model'},\"{PAD[i % 6]}\",\"['loc right', 'loc basal']\""
            for i in range(48)
        ),
    )


@case("--label-column", "finding_categories", sub="vindr")
def vindr_mammo_list_one(out):
    "VinDr-Mammo finding_annotations.csv: mostly one name in the list"
    lines = []
    for i in range(48):
        save(out / "vindr/images" / f"s{i // 4}" / f"im{i:03d}.png", i, i % 3)
        found = ["['No Finding']", "['Mass']", "['Mass', 'Skin Retraction']"][i % 3]
        lines.append(
            f's{i // 4},se{i},im{i:03d},{"LR"[i % 2]},{"CC" if i % 2 else "MLO"},3518,2800,BI-RADS {1 + i % 5},DENSITY {"BC"[i % 2]},"{found}",,,,,{"test" if i // 4 % 5 == 0 else "training"}'
        )
    text(
        out / "vindr/finding_annotations.csv",
        "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,finding_categories,xmin,ymin,xmax,ymax,split",
        *lines,
    )


def vin(out, suffix):
    names = ["No finding", "Aortic enlargement", "Cardiomegaly", "Pleural thickening"]
    lines = []
    for i in range(40):
        name = f"{i:032x}"
        if suffix == ".png":
            save(out / "train" / f"{name}.png", i, i % 4)
        else:
            dcm(out / "train" / f"{name}{suffix}", pic(i, i % 4).astype(np.uint16) * 16, BitsStored=12)
        for rad in range(3):
            k = i % 4
            box = ",,," if k == 0 else f"{10 + rad}.0,5.0,20.0,25.0"
            lines.append(f"{name},{names[k]},{14 if k == 0 else k - 1},R{8 + rad},{box}")
            if k == 1 and rad == 0:
                lines.append(f"{name},Cardiomegaly,3,R{8 + rad},3.0,5.0,20.0,25.0")
    text(out / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *lines)


@case()
def vinbigdata_dicom(out):
    vin(out, ".dicom")


@case()
def vinbigdata_png(out):
    vin(out, ".png")


@case()
def rsna_pneumonia(out):
    lines, info = [], []
    for i in range(40):
        name = f"{i:08x}-0000-4000-8000-{i:012x}"
        dcm(out / "stage_2_train_images" / f"{name}.dcm", pic(i, i % 2))
        for _ in range(1 + i % 4 // 3):
            lines.append(f"{name}," + (f"{i}.0,5.0,9.0,{9 + len(lines)}.0,1" if i % 2 else ",,,,0"))
            info.append(f"{name},{'Lung Opacity' if i % 2 else ['Normal', 'No Lung Opacity / Not Normal'][i // 2 % 2]}")
    text(out / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", *lines)
    text(out / "stage_2_detailed_class_info.csv", "patientId,class", *info)


@case()
def rsna_pneumonia_one_table(out):
    rsna_pneumonia(out)
    (out / "stage_2_detailed_class_info.csv").unlink()


@case()
def nih_sample_in_images(out):
    lines = []
    for i in range(40):
        name = f"{i // 2 + 13:08d}_{i % 2:03d}.png"
        save(out / "sample/images" / name, i, i % 3)
        found = ["No Finding", "Effusion|Mass", "Mass", "Effusion", "Atelectasis|Effusion"][i % 5]
        lines.append(f"{name},{found},{i % 2},{i // 2 + 13},0{40 + i % 40}Y,{'MF'[i % 2]},PA,2992,2991,0.143,0.143")
    text(
        out / "sample_labels.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y",
        *lines,
    )
