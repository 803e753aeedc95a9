"""Images of other data that the study has: its own by id and picture, twins by picture, nothing by id alone."""

import numpy as np

from xlite.data.picture_hash import hashes_of
from xlite.data.seen_pictures import read_seen_pictures, write_seen_pictures
from xlite.evaluate.overlap import StudyImages, overlap_of


def hashes(pictures):
    return np.array([hashes_of(picture) for picture in pictures], dtype=np.uint64)


def overlap(study, ids, pictures, groups=None):
    groups = np.array(groups or [f"elsewhere {name}" for name in ids])
    return overlap_of(study, np.array(ids), groups, hashes(pictures), np.stack(pictures), np.arange(len(ids)))


def test_own_images_are_found_by_id_and_picture_and_twins_by_picture(tiny_dataset):
    pixels, ids = tiny_dataset.open_pixels(), tiny_dataset.ids
    study = StudyImages.of_dataset(tiny_dataset)
    new = np.random.default_rng(5).integers(0, 255, (32, 32)).astype(np.uint8)
    brighter = (pixels[1] * 0.9 + 12).astype(np.uint8)  # the same image in another format
    names = [str(ids[0]), str(ids[1]), "copy.png", str(ids[3]), str(ids[180]), "test copy.png"]
    found = overlap(study, names, [pixels[0], brighter, pixels[2], new, pixels[180], pixels[181]])
    assert found.by_id.tolist() == [True, True, False, False, True, False]
    assert found.place.tolist() == [0, 1, 2, -1, 180, 181]  # an id alone says nothing
    assert found.refused.tolist() == [True, True, False, False, False, False]
    assert found.twin.tolist() == [False, False, True, False, False, False]
    assert (found.part == "test").tolist() == [False] * 4 + [True, True]


def test_a_patient_of_the_study_is_known_only_where_images_are_the_studys_own(tiny_dataset):
    pixels, study = tiny_dataset.open_pixels(), StudyImages.of_dataset(tiny_dataset)
    new = np.random.default_rng(5).integers(0, 255, (32, 32)).astype(np.uint8)
    own, follow_up = str(tiny_dataset.ids[180]), "new.png"
    groups = [str(tiny_dataset.groups[180]), str(tiny_dataset.groups[0])]
    assert overlap(study, [own, follow_up], [pixels[180], new], groups).known_patient.tolist() == [False, True]
    assert not overlap(study, ["a.png", follow_up], [pixels[180], new], groups).known_patient.any()


def test_a_constant_picture_is_no_twin_of_another(tiny_dataset):
    blank = np.array([""])
    study = StudyImages(blank, blank, np.array(["train"]), np.zeros((1, 2), dtype=np.uint64))
    assert overlap(study, ["black.png"], [np.zeros((32, 32), np.uint8)]).place.tolist() == [-1]


def test_the_hashes_in_a_package_find_pictures_the_model_has_seen_but_not_those_of_test(tiny_dataset, tmp_path):
    assert read_seen_pictures(tmp_path) is None
    write_seen_pictures(tmp_path, tiny_dataset)
    seen = read_seen_pictures(tmp_path)
    assert (tmp_path / "seen_pictures.npy").stat().st_size < 8 * 170 + 200  # 8 bytes a picture
    pixels = tiny_dataset.open_pixels()
    found = overlap(StudyImages.of_hashes(seen), ["a", "b", "c"], [pixels[0], pixels[150], pixels[180]])
    assert found.twin.tolist() == [True, True, False] and not found.by_id.any()
