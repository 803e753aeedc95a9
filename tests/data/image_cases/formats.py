"""Formats, parts, patients and twins, as bug reports of other tools have them."""

import io
import shutil

import numpy as np
from PIL import Image

from image_cases.drawing import case, dcm, pic, save, table_of, text


def mixed_modes(out, exotic=True):
    kinds = ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"]
    lines = []
    for i in range(42):
        a, mode = pic(i, i % 2), kinds[i % 7]
        if mode == "I;16":
            im = Image.fromarray(a.astype(np.uint16) * 200)
        elif mode == "RGB":
            im = Image.fromarray(np.dstack([a] * 3))
        elif mode == "RGBA":
            im = Image.fromarray(np.dstack([a, a, a, np.full_like(a, 255)]))
        else:
            im = Image.fromarray(a).convert(mode)
        (out / "images").mkdir(parents=True, exist_ok=True)
        im.save(out / f"images/{i:03d}.png")
        lines.append(f"{i:03d}.png,{'ab'[i % 2]}")
    text(out / "labels.csv", "image,label", *lines)


@case()
def leading_zeros(out):
    for i in range(40):
        save(out / "images" / f"{i:05d}.png", i, i % 2)
    text(out / "labels.csv", "image,patient,label", *(f"{i:05d},{i // 2:03d},{'ab'[i // 2 % 2]}" for i in range(40)))


@case()
def excel_ate_zeros(out):
    for i in range(40):
        save(out / "images" / f"{i:05d}.png", i, i % 2)
    text(out / "labels.csv", "image,patient,label", *(f"{i},{i // 2},{'ab'[i // 2 % 2]}" for i in range(40)))


@case()
def patient_007_and_7(out):
    "two sources of one patient: '007' and '7', 'P01' and 'p01 '"
    table_of(
        out,
        header="image,patient,label",
        row=lambda i: f"{i:03d}.png,{[f'{i // 2:03d}', f'{i // 2}'][i % 2]},{'ab'[i // 2 % 2]}",
    )


def parts_of(out, classes):
    for part, names in classes.items():
        for c, name in enumerate(sorted({n for ns in classes.values() for n in ns})):
            for i in range(8 if name in names else 0):
                save(out / part / name / f"{i}.png", 100 * c + i, c)


@case()
def class_only_in_val(out):
    parts_of(out, {"train": "ab", "val": "abc", "test": "ab"})


@case()
def class_only_in_test(out):
    parts_of(out, {"train": "ab", "val": "ab", "test": "abc"})


@case()
def empty_class_folder(out):
    parts_of(out, {"train": "ab", "val": "ab", "test": "ab"})
    (out / "train/c").mkdir()


@case()
def non_ascii_paths(out):
    for c in ("健康", "Größe ø"):
        for i in range(12):
            save(out / c / f"患者{i}.png", i, len(c) % 2)


@case()
def dicom_no_suffix_class_folders(out):
    for i in range(40):
        dcm(out / "ab"[i % 2] / f"IM{i:06d}", pic(i, i % 2).astype(np.uint16) * 16, BitsStored=12)


@case()
def dicom_some_without_suffix(out):
    "one class from another PACS export: its files end in nothing, .dicom and .IMA"
    for i in range(36):
        for c in range(3):
            dcm(
                out / "abc"[c] / f"IM{i:04d}{['.dcm', '', '.dcm'][c] if i % 3 else ['.dcm', '', '.ima'][c]}",
                pic(i, c).astype(np.uint16) * 16,
                BitsStored=12,
            )


@case()
def dicom_overlay_in_high_bits(out):
    "old CR: BitsStored 12, overlay plane in bit 15: must be masked"
    for i in range(40):
        a = pic(i, i % 2).astype(np.uint16) * 16
        a[:8, :8] |= 0x8000
        dcm(out / "ab"[i % 2] / f"{i:03d}.dcm", a, BitsStored=12)


@case()
def dicom_multiframe(out):
    for i in range(40):
        dcm(out / "ab"[i % 2] / f"{i:03d}.dcm", np.stack([pic(i + k, i % 2) for k in range(4)]), NumberOfFrames=4)


@case()
def dicom_jpeg2000(out):
    for i in range(40):
        b = io.BytesIO()
        Image.fromarray(pic(i, i % 2)).save(b, "JPEG2000", irreversible=False, no_jp2=True)
        dcm(out / "ab"[i % 2] / f"{i:03d}.dcm", pic(i, i % 2), syntax="1.2.840.10008.1.2.4.90", raw=[b.getvalue()])


@case()
def dicom_jpeg_lossless(out):
    for i in range(40):
        dcm(
            out / "ab"[i % 2] / f"{i:03d}.dcm",
            pic(i, i % 2),
            syntax="1.2.840.10008.1.2.4.70",
            raw=[b"\xff\xd8\xff\xc3" + b"\0" * 60 + b"\xff\xd9"],
        )


@case()
def dicom_modality_lut(out):
    "film digitizer: a Modality LUT that inverts the values (no RescaleSlope), in half of the files"
    from pydicom.dataset import Dataset

    for i in range(40):
        a = pic(i, i % 2)
        if i // 2 % 2:
            lut = Dataset()
            lut.LUTDescriptor = [256, 0, 8]
            lut.LUTData = list(range(255, -1, -1))
            lut.ModalityLUTType = "US"
            lut["LUTData"].VR = "US"
            lut["LUTDescriptor"].VR = "US"
            dcm(out / "ab"[i % 2] / f"lut_{i:03d}.dcm", 255 - a, ModalityLUTSequence=[lut])
        else:
            dcm(out / "ab"[i % 2] / f"plain_{i:03d}.dcm", a)


@case()
def webp_gif_mixed_in(out):
    "class b was fetched from the web: half of it .webp, .gif, .jfif"
    for i in range(24):
        save(out / "a" / f"{i}.png", i, 0, colour=True)
        ext = [".png", ".webp", ".gif", ".jfif"][i % 4]
        (out / "b").mkdir(exist_ok=True)
        Image.fromarray(pic(i, 1, colour=True)).save(out / "b" / f"{i}{ext}", "JPEG" if ext == ".jfif" else None)


@case()
def webp_class_whole(out):
    for i in range(12):
        save(out / "a" / f"{i}.png", i, 0)
        save(out / "b" / f"{i}.png", i, 1)
        (out / "c").mkdir(exist_ok=True)
        Image.fromarray(pic(i, 2)).save(out / "c" / f"{i}.webp")


@case()
def animated_gif(out):
    for c in "ab":
        for i in range(12):
            (out / c).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pic(i)).save(
                out / c / f"{i}.gif", save_all=True, append_images=[Image.fromarray(pic(i + 1))]
            )


def turned(a, tag, path, fmt):
    """`a` stored turned, with an orientation tag that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = tag
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180, 1: None}[tag]
    im = Image.fromarray(a)
    im = im if back is None else im.transpose(back)
    path.parent.mkdir(parents=True, exist_ok=True)
    if fmt == "TIFF":
        im.save(path, tiffinfo={0x0112: tag})
    else:
        im.save(path, exif=exif, **({"quality": 95} if fmt == "JPEG" else {}))


@case()
def cmyk_jpeg(out):
    for i in range(24):
        im = Image.fromarray(pic(i, i % 2, colour=True))
        (out / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (im.convert("CMYK") if i // 2 % 2 else im).save(
            out / "ab"[i % 2] / f"{['rgb', 'cmyk'][i // 2 % 2]}_{i:03d}.jpg", quality=95
        )


@case()
def odd_sizes(out):
    for i in range(24):
        save(out / "ab"[i % 2] / f"{i}.png", i, i % 2)
    for name, (w, h) in {"one": (1, 1), "long": (20000, 10), "tall": (3, 9000), "two": (2, 2)}.items():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (h, w), dtype=np.uint8)).save(
            out / "a" / f"{name}.png"
        )


@case()
def ten_thousand(out):
    for i in range(10000):
        save(out / "images" / f"{i:05d}.png", i % 50, i % 2)
    text(out / "labels.csv", "image,patient_id,label", *(f"{i:05d},{i // 3},{'ab'[i // 3 % 2]}" for i in range(10000)))


@case()
def grades_int_and_float(out):
    "two tables joined as text: '1' and '1.0' are one grade"
    table_of(out, header="image,grade", row=lambda i: f"{i:03d}.png,{i % 4}{'.0' if i > 20 else ''}")


@case()
def twins_other_label(out):
    "the same bytes under two names, with different labels"
    table_of(out)
    [shutil.copy(out / f"images/{i:03d}.png", out / f"images/{i + 1:03d}.png") for i in range(0, 40, 2)]


@case()
def twins_in_train_and_test(out):
    parts_of(out, {"train": "ab", "val": "ab", "test": "ab"})  # parts_of draws the same pictures in each part


@case()
def two_images(out):
    save(out / "a/1.png", 1, 0)
    save(out / "b/2.png", 2, 1)


@case()
def twice_same_label(out):
    table_of(out)
    p = out / "labels.csv"
    p.write_text(p.read_text() + "003.png,b\n./images/004.png,a\n")


@case()
def twice_other_label(out):
    table_of(out)
    p = out / "labels.csv"
    p.write_text(p.read_text() + "003.png,a\n")


@case()
def long_format_multilabel(out):
    "a row a finding, several rows an image (the tidy form)"
    names = ["edema", "mass", "effusion"]
    table_of(
        out,
        header="image,finding",
        row=lambda i: f"{i:03d}.png,{names[i % 3]}" + (f"\n{i:03d}.png,{names[(i + 1) % 3]}" if i % 4 == 0 else ""),
    )


@case()
def blank_joined(out):
    "Kaggle plant-pathology / planet / HPA: names joined by a blank (lightning-flash #728)"
    names = ["scab", "rust", "scab frog_eye_leaf_spot", "healthy", "rust frog_eye_leaf_spot", "frog_eye_leaf_spot"]
    table_of(out, n=48, header="image,labels", row=lambda i: f"{i:03d}.png,{names[i % 6]}")


@case()
def plus_joined(out):
    table_of(
        out, header="image,labels", row=lambda i: f"{i:03d}.png,{['edema+mass', 'mass', 'edema', 'normal'][i % 4]}"
    )


@case()
def slash_joined(out):
    table_of(
        out, header="image,labels", row=lambda i: f"{i:03d}.png,{['edema/mass', 'mass', 'edema', 'normal'][i % 4]}"
    )


@case()
def two_separators(out):
    table_of(
        out,
        header="image,labels",
        row=lambda i: (
            f'{i:03d}.png,"{["edema|mass", "mass;edema", "edema, effusion", "mass", "edema", "normal"][i % 6]}"'
        ),
    )


@case()
def normal_beside_other(out):
    "'No Finding' in most rows alone, in one row beside another: becomes a label of its own"
    table_of(
        out,
        header="image,labels",
        row=lambda i: (
            f"{i:03d}.png,{'No Finding|edema' if i == 7 else ['edema|mass', 'mass', 'edema', 'No Finding'][i % 4]}"
        ),
    )
