"""Listing a data set: pictures by suffix or bytes, what is not read counted, masks and thumbnails set aside."""

import time
from pathlib import Path

import pytest
from image_cases import make
from image_cases.drawing import dcm, mask, pic, save
from image_cases.further import noise
from labelled_folders import write_images

from xlite.data.sources.image_files import ImageFiles, list_images
from xlite.data.sources.set_aside import find_masks


def case(name: str, folder: Path) -> ImageFiles:
    return list_images(make(name, folder)[0])


def endings(files: ImageFiles) -> set[str]:
    return {Path(path).suffix for path in files.images}


# Formats


@pytest.mark.parametrize(
    ("name", "count", "suffixes"),
    [
        ("webp_gif_mixed_in", 48, {".png", ".webp", ".gif", ".jfif"}),
        ("webp_class_whole", 36, {".png", ".webp"}),
        ("animated_gif", 24, {".gif"}),
        ("dicom_no_suffix_class_folders", 40, {""}),
        ("dicom_some_without_suffix", 108, {"", ".dcm", ".ima"}),
        ("vinbigdata_dicom", 40, {".dicom"}),
        ("cmyk_jpeg", 24, {".jpg"}),
        ("odd_sizes", 28, {".png"}),
        ("lfs_pointers", 24, {".png"}),
    ],
)
def test_every_picture_is_listed(tmp_path: Path, name: str, count: int, suffixes: set[str]) -> None:
    files = case(name, tmp_path)
    assert len(files.images) == count and endings(files) == suffixes
    assert not files.unread and not files.masks and files.set_aside_notes == []


def test_files_without_a_telling_suffix_are_told_by_their_bytes(tmp_path: Path) -> None:
    dcm(tmp_path / "1.2.840.113619.5", pic(0))
    write_images(tmp_path, ["a.1", "b.img", "c"])
    (tmp_path / "README").write_text("Größe: 3\n")
    (tmp_path / "empty").touch()
    (tmp_path / "labels.csv").write_bytes(b"\x89PNG\r\n\x1a\n")  # a document by its suffix: never opened
    files = list_images(tmp_path)
    assert files.images == ("1.2.840.113619.5", "a.1", "b.img", "c")
    assert files.others == ("README", "empty", "labels.csv") and not files.unread


def test_formats_that_are_not_read_are_counted_by_suffix_and_folder(tmp_path: Path) -> None:
    write_images(tmp_path, ["a/1.png", "b/1.png"])
    for name in ("b/2.nii.gz", "b/3.NII.GZ", "c/x.svs", "c/deep/4", "c/5", "c/1.7", "notes.txt", "c/more.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x1f\x8b\0\0binary" if name[-3:] not in ("txt", "son") else b"text")
    files = list_images(tmp_path)
    assert files.unread == {
        "": ("c/1.7", "c/5", "c/deep/4"),
        ".nii.gz": ("b/2.nii.gz", "b/3.NII.GZ"),
        ".svs": ("c/x.svs",),
    }
    assert set(files.others) == {*sum(files.unread.values(), ()), "notes.txt", "c/more.json"}
    assert files.unread_in(0) == {"b": {".nii.gz": 2}, "c": {"": 3, ".svs": 1}}
    assert files.unread_in(1) == {"c/deep": {"": 1}}
    (note,) = files.set_aside_notes
    assert note == "left out: files in formats that are not read: no suffix 3, .nii.gz 2, .svs 1, e.g. c/1.7"


def test_folders_with_nothing_in_them_are_known(tmp_path: Path) -> None:
    assert case("empty_class_folder", tmp_path).empty_folders == ("train/c",)


def test_items_of_dicom_files_say_so_and_others_do_not(tmp_path: Path) -> None:
    """So that caches of DICOM pixels are made anew when these are read differently, and no others."""
    files = case("dicom_some_without_suffix", tmp_path / "dicom")
    assert {files.item(path).detail for path in files.images} == {"dicom 2"}
    assert files.item(files.images[0]).path == files.folder / files.images[0]
    files = case("webp_gif_mixed_in", tmp_path / "web")
    assert {files.item(path).detail for path in files.images} == {""}


# Masks


@pytest.mark.parametrize(
    ("picture", "drawn"),
    [
        ("a/1.png", "a/1_mask.png"),
        ("a/1.png", "a/1_mask_1.png"),
        ("a/b (1).png", "a/b (1)_mask.png"),
        ("a/1.png", "a/1-seg.png"),
        ("a/1.jpg", "a/1_segmentation.png"),
        ("a/1.webp", "a/1_GT.bmp"),
        ("a/1.png", "a/1_lesion_mask.png"),
        ("a/1.png", "a/1.mask.left.png"),
        ("a/1.png", "a/mask_1.png"),
        ("a/images/1.png", "a/masks/1.png"),
        ("images/a/1.png", "masks/a/1.png"),
        ("images/1.jpg", "Segmentations/1.png"),
        ("images/1.png", "masks/1_mask.png"),
        ("a/1.png", "a/mask/1.png"),
        ("CXR_png/1.png", "ManualMask/leftMask/1.png"),
        ("Training_Input/1.png", "Training_GroundTruth/1_segmentation.png"),
        ("image/1.png", "label/1.png"),
        ("original/1.png", "gt/1.png"),
        ("scans/1.png", "annotations/1.png"),
        ("a/1.png", "masks of a/1.png"),
        ("images/1.png", "image_masks/1.png"),
        ("labels/a/1.png", "labels/a/1_mask.png"),
    ],
)
def test_a_mask_is_set_aside_where_its_picture_is(tmp_path: Path, picture: str, drawn: str) -> None:
    save(tmp_path / picture)
    mask(tmp_path / drawn)
    save(tmp_path / "other" / "9.png", 5)
    files = list_images(tmp_path)
    assert files.masks == (drawn,) and set(files.images) == {picture, "other/9.png"}
    (note,) = files.set_aside_notes
    assert note == f"left out: 1 masks or drawings of other images, e.g. {drawn}"
    (tmp_path / picture).unlink()
    assert list_images(tmp_path).masks == ()


@pytest.mark.parametrize(
    "folders",
    [("mask", "no_mask"), ("with_mask", "without_mask"), ("mask", "scarf"), ("label", "other"), ("gt", "bmw")],
)
def test_a_class_named_like_masks_stays(tmp_path: Path, folders: tuple[str, str]) -> None:
    for number in range(8):
        for folder in folders:
            save(tmp_path / folder / f"{number}.png", number + len(folder))
    files = list_images(tmp_path)
    assert len(files.images) == 16 and not files.masks


@pytest.mark.parametrize("names", [["mask/1.png", "other/2.png"], ["a/1_mask.png", "a/2.png"], ["label_1/1.png"]])
def test_the_word_alone_is_not_enough(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        mask(tmp_path / name, number)
    assert set(list_images(tmp_path).images) == set(names)


def test_where_names_settle_it_a_drawing_need_not_look_like_a_mask(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", number)
        save(tmp_path / "images" / f"{number}_overlay.png", number)
        save(tmp_path / "contours" / f"{number}.png", number)
    assert len(list_images(tmp_path).masks) == 8


def test_masks_without_a_picture_follow_the_others_of_their_folder(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / "images" / f"{number}.png", number)
        mask(tmp_path / "masks" / f"{number + 2}.png", number)
    assert len(list_images(tmp_path).masks) == 5


def test_busi_keeps_its_pictures_and_no_mask(tmp_path: Path) -> None:
    files = case("busi_masks_beside", tmp_path)
    assert len(files.images) == 36 and len(files.masks) == 37 and "benign/benign (4)_mask_1.png" in files.masks
    assert files.find("benign (4)_mask_1.png") == ()


def test_pictures_of_noise_are_all_that_remains_of_busi_s_layout(tmp_path: Path) -> None:
    noise(tmp_path, with_masks=True)
    assert len(list_images(tmp_path).images) == 180


def test_a_table_s_names_mean_the_pictures_never_their_masks(tmp_path: Path) -> None:
    files = case("table_images_webp_masks_png", tmp_path)
    assert files.find("im_003") == ("images/im_003.webp",) and len(files.masks) == 40


def test_a_mask_of_a_picture_that_is_not_read_is_no_example(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.nrrd").write_bytes(b"NRRD0004\0\0\1\2")
    mask(tmp_path / "masks" / "1.png")
    files = list_images(tmp_path)
    assert files.images == () and files.masks == ("masks/1.png",) and files.find("1") == ()


# Thumbnails


def test_thumbnails_are_set_aside(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "a" / f"{number}.png", number)
        for small in (f"thumbnails/{number}.png", f"a/{number}_thumb.png", f"@eaDir/{number}.png/SYNO_THUMB_M.jpg"):
            save(tmp_path / small, number, size=8)
    files = list_images(tmp_path)
    assert files.images == tuple(f"a/{number}.png" for number in range(4)) and len(files.thumbnails) == 12
    assert files.set_aside_notes == ["left out: 12 thumbnails of other images, e.g. @eaDir/0.png/SYNO_THUMB_M.jpg"]


def test_a_class_of_thumbs_stays(tmp_path: Path) -> None:
    for finger in ("thumb", "index"):
        for number in range(4):
            save(tmp_path / finger / f"{number}.png", number)
    assert len(list_images(tmp_path).images) == 8


# Names


def test_a_picture_with_a_suffix_comes_before_one_without(tmp_path: Path) -> None:
    dcm(tmp_path / "dicom" / "IM1", pic(0))
    assert list_images(tmp_path).find("IM1") == ("dicom/IM1",)
    write_images(tmp_path, ["png/IM1.png"])
    assert list_images(tmp_path).find("IM1") == ("png/IM1.png",)


def test_thousands_of_files_of_one_name_are_found_in_seconds(tmp_path: Path) -> None:
    """As in CheXpert and MURA; comparing each with each other takes hours at 100,000 images."""
    images = tuple(f"train/patient{number:05d}/study1/view1_frontal.jpg" for number in range(5000))
    files = ImageFiles(tmp_path / "small", images, ())
    drawn = [path.replace("frontal.jpg", "frontal_mask.png") for path in images]
    start = time.perf_counter()
    assert [files.find(f"small/{path}") for path in images] == [(path,) for path in images]
    assert [files.in_folder(f"{number:05d}/study1") for number in range(5000)] == [()] * 5000
    assert [files.in_folder(f"patient{number:05d}/study1") for number in range(5000)] == [(path,) for path in images]
    assert find_masks(tmp_path, [*images, *drawn]) == set(drawn)
    assert time.perf_counter() - start < 5  # it takes about a tenth of that
    assert files.find("view1_frontal") == images[:2]


def test_listing_opens_only_files_whose_suffix_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, ["a/1.png", "a/2.JPG", "labels.csv", "a/3"])
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *how: (opened.append(path.name), real(path, *how))[1])
    list_images(tmp_path)
    assert opened == ["3"]
