"""Several members are one teacher; what is checked of it before anything trains."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from onnx_files import GREY, write_onnx
from test_bank import CPU, IMAGE, teacher_of

from xlite.config import ModelConfig, RunConfig
from xlite.console import Console
from xlite.data.batches import ViewReader
from xlite.data.input_spec import InputSpec
from xlite.distill.bank import open_or_build
from xlite.distill.bank_build import BankSource
from xlite.distill.bank_check import check_bank
from xlite.distill.teacher import Teacher, check_file, load_teacher
from xlite.distill.teacher_checks import check_range, trained_on_note, validation_value
from xlite.distill.teachers.own import load_own
from xlite.errors import InputError
from xlite.models.artifact import load_artifact, save_artifact, state_copy
from xlite.models.build import build_model
from xlite.study.options import TeacherRequest
from xlite.study.teacher import load_study_teacher, tell_what_it_has_seen
from xlite.tasks.chestxray14 import CHESTXRAY14 as TASK

NAN = np.nan


@dataclass(frozen=True)
class Says:
    """A member that says the same rows of logits always, or those of the rows asked about."""

    logits: list
    key: str = "k"
    name: str = "it"
    settings: dict = field(default_factory=dict)
    notes: tuple = ()

    def answer(self, pixels, auxiliary, rows, *, device):
        return np.float32(self.logits)[rows]


def combined(*members, weights=()):
    teacher = Teacher(tuple(Says(rows, key=str(number)) for number, rows in enumerate(members)), IMAGE, weights)
    return teacher.answer(np.zeros((1, 32, 32), np.uint8), None, np.array([0]), device=CPU)[0].tolist()


def test_the_weighted_mean_is_over_the_members_that_know_a_label():
    first, second, third = [[4.0, 1.0, NAN, NAN]], [[0.0, NAN, 2.0, NAN]], [[1.0, 1.0, 6.0, NAN]]
    assert combined(first, second)[:3] == [2.0, 1.0, 2.0]
    assert combined(first, second, weights=(3, 1))[:3] == [3.0, 1.0, 2.0]
    np.testing.assert_allclose(combined(first, second, third, weights=(1, 2, 1))[:3], [1.25, 1.0, 10 / 3], rtol=1e-6)
    assert np.isnan(combined(first, second)[3])  # nobody knows


def test_its_key_covers_members_and_weights_but_not_the_weights_scale():
    members = (Says([[0.0]], key="x"), Says([[0.0]], key="y"))
    keys = [Teacher(members, IMAGE, weights).key for weights in ((), (2, 2), (1, 3), (2, 6), (3, 1))]
    assert keys[0] == keys[1] and keys[2] == keys[3] and len(set(keys)) == 3
    assert Teacher(members[::-1], IMAGE).key != keys[0]


def own_file(folder, labels=("a", "b", "c"), *, split="split", seed=0, **more):
    weights = state_copy(build_model(ModelConfig(), num_labels=len(labels), seed=seed))
    about = {"model": ModelConfig().model_dump(), "in_channels": 1, "image_size": 32, "split_hash": split}
    save_artifact(folder, "own", weights, {**about, "labels": list(labels), **more})
    return folder / "own.safetensors"


def test_a_model_of_ours_is_matched_by_name_too(tiny_dataset, tmp_path):
    def load(dataset, kind="multilabel"):
        return load_own(tmp_path / "own.safetensors", dataset, kind=kind, device=CPU, allow_other_split=False)

    own_file(tmp_path, ["c", "a", "d"])
    rows, pixels = np.arange(4), np.array(tiny_dataset.open_pixels()[:4])
    there = load(replace(tiny_dataset, labels=("c", "a", "d"))).answer(pixels, None, rows, device=CPU)
    found = load(tiny_dataset)
    asked = found.answer(pixels, None, rows, device=CPU)
    np.testing.assert_array_equal(asked[:, [0, 2]], there[:, [1, 0]])
    assert np.isnan(asked[:, 1]).all() and "does not know b" in found.notes[0]
    with pytest.raises(InputError, match="it lacks b"):
        load(tiny_dataset, "multiclass")


def test_what_its_labels_are_called_is_in_the_key_where_they_are_not_the_data_s(tiny_dataset, tmp_path):
    def key(*labels):
        file = own_file(tmp_path, labels)
        return load_own(file, tiny_dataset, kind="multilabel", device=CPU, allow_other_split=False).key

    keys = [key("c", "a", "d"), key("a", "c", "d"), key("a", "b", "c")]
    assert len(set(keys)) == 3 and keys[2] == load_artifact(tmp_path / "own.json")[1]["weights_sha256"]


def test_a_model_of_ours_that_does_not_take_the_data_s_shape_is_one_line(tiny_dataset, tmp_path):
    stacks = replace(tiny_dataset, input_spec=InputSpec("slices", (3, 32, 32, 1)))
    with pytest.raises(InputError, match=r"own.safetensors: model.architecture=image: the data's layout is slices"):
        load_own(own_file(tmp_path), stacks, kind="multilabel", device=CPU, allow_other_split=False)


@pytest.mark.parametrize("answers", ["probabilities", "logits"])
def test_probabilities_of_labels_and_of_classes_are_different_teachers(tiny_dataset, tmp_path, answers):
    table = pd.DataFrame(np.random.default_rng(0).random((200, 3)) * (1 if answers == "probabilities" else 9))
    table.columns, table.index = list("abc"), pd.Index(tiny_dataset.ids)
    table.to_csv(tmp_path / "t.csv")
    files = [tmp_path / "t.csv", write_onnx(tmp_path / "m.onnx", size=32, about={**GREY, "output": answers})]
    for file in files:
        keys = {
            load_teacher([file], tiny_dataset, kind=kind, device=CPU, answers=answers).key
            for kind in ("multilabel", "multiclass")
        }
        assert len(keys) == (2 if answers == "probabilities" else 1), file


def table_file(folder, dataset, *, kept=slice(None), column=None):
    """A table of logits that are right more often than not."""
    noise = np.random.default_rng(3).normal(size=dataset.targets.shape)
    table = pd.DataFrame(dataset.targets * 2 + noise, columns=list(dataset.labels))
    table.insert(0, "image", dataset.ids)
    if column is not None:
        table = table[["image", column]]
    table[kept].to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def test_the_bank_of_several_kinds_has_their_mean_and_nan_where_none_answers(tiny_dataset, tmp_path):
    onnx = write_onnx(tmp_path / "m.onnx", size=32, about={**GREY, "labels": ["a", "b", ""]})
    files = [onnx, table_file(tmp_path, tiny_dataset, kept=slice(50, None))]
    both = load_teacher(files, tiny_dataset, kind="multilabel", device=CPU, answers="logits", weights=[1, 3])
    alone = [load_teacher([file], tiny_dataset, kind="multilabel", device=CPU, answers="logits") for file in files]
    reader = ViewReader(tiny_dataset.open_pixels(), tiny_dataset.rows[:140], "medium", 7)
    source = BankSource(both, reader, CPU, num_views=2)
    bank = open_or_build(source, data_key="d", logits_shape=(3,), folder=tmp_path / "banks")
    positions, views = np.arange(140), np.full(140, 1)
    pixels, logits = bank.read(positions, views)
    by_onnx, by_table = (one.answer(pixels, None, positions, device=CPU) for one in alone)
    np.testing.assert_allclose(logits[:50, :2], by_onnx[:50, :2], rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(logits[50:, :2], (by_onnx + 3 * by_table)[50:, :2] / 4, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(logits[50:, 2], by_table[50:, 2], rtol=2e-3, atol=1e-3)
    assert np.isnan(logits[:50, 2]).all()
    assert check_bank(bank, both, reader, device=CPU).holds
    spoilt = np.load(bank.folder / "logits.npy", mmap_mode="r+")
    spoilt[1, 3, 2] = 0.0  # an answer where there is none
    spoilt.flush()
    assert check_bank(bank, both, reader, device=CPU).num_beyond == 1


def test_a_teacher_that_does_not_look_at_the_image_is_refused(tiny_dataset, tmp_path):
    views = ViewReader(tiny_dataset.open_pixels(), tiny_dataset.rows[:140], "light", 7)

    def check(teacher, *, exclusive=False):
        check_range(teacher, tiny_dataset, views, device=CPU, exclusive=exclusive)

    about = {**GREY, "output": "probabilities"}
    saturated = write_onnx(tmp_path / "m.onnx", ends_with=["Sigmoid"], about={**about, "scale": [1e5, 2e5]})
    good = write_onnx(tmp_path / "g.onnx", ends_with=["Sigmoid"], about=about)
    check(load_teacher([good], tiny_dataset, kind="multilabel", device=CPU))
    with pytest.raises(
        InputError, match=r"teacher m.onnx: 64 images have the same answer for a, b, c; is its input in"
    ):
        check(load_teacher([good, saturated], tiny_dataset, kind="multilabel", device=CPU))
    rows = np.random.default_rng(0).normal(size=(200, 3))
    rows[:, 1] = 0.5
    with pytest.raises(InputError, match=r"teacher it: 64 images have the same answer for b; is"):
        check(Teacher((Says(rows),), IMAGE))
    check(Teacher((Says(rows),), IMAGE), exclusive=True)  # a class that never occurs is no sign of it


def test_the_validation_metric_leaves_out_what_is_not_answered(tiny_dataset):
    targets, noise = tiny_dataset.targets, np.random.default_rng(0).normal(size=(200, 3))

    def value(logits):
        return validation_value(Teacher((Says(logits),), IMAGE), tiny_dataset, TASK.target_spec, device=CPU)

    whole = value(targets + noise)
    assert (whole.num_images, whole.num_labels) == (30, 3) and 0.6 < whole.value < 1
    assert value(targets).value == 1.0
    partial = targets + noise
    partial[:, 1] = NAN
    partial[:150] = NAN
    some = value(partial)
    assert (some.num_images, some.num_labels) == (20, 2)
    rows = np.arange(150, 170)
    by_hand = TASK.target_spec.judge(
        TASK.target_spec.probabilities((targets + noise)[rows][:, [0, 2]]), targets[rows][:, [0, 2]], ["a", "c"]
    )
    assert some.value == pytest.approx(by_hand.scalars["auc_macro"], abs=1e-6)
    assert np.isnan(value(np.full((200, 3), NAN)).value)


class Told(Console):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text=""):
        self.lines.append(text)


def test_what_was_measured_is_kept_and_nothing_is_asked_again(tiny_dataset, tmp_path, monkeypatch):
    table, told = table_file(tmp_path, tiny_dataset, kept=slice(20, 160)), Told()
    request = TeacherRequest((table,), answers="logits")
    config = RunConfig().override({"data.image_size": 32}, source="test")

    def load():
        return load_study_teacher(request, TASK, tiny_dataset, config, cache_dir=tmp_path / "cache", console=told)

    first = load()
    assert re.fullmatch(
        r"Teacher t.csv: validation auc_macro 0\.\d{4} \(over 3 of 3 labels, 20 of 30 images\)", told.lines[-1]
    )
    assert (
        told.lines[0] == "t.csv: one answer an image, used for all its views; 120 of 140 training images (86%) have one"
    )
    monkeypatch.setattr(Teacher, "answer", None)
    assert load().value == first.value
    assert len(list((tmp_path / "cache" / "teachers").glob("measured-*.json"))) == 1


def test_the_stored_value_of_a_model_of_ours_counts_only_on_its_own_split(tiny_dataset, tmp_path):
    config = RunConfig().override({"data.image_size": 32}, source="test")

    def value(split):
        file = own_file(tmp_path, split=split, value=0.875)
        request = TeacherRequest((file,), allow_other_split=True)
        return load_study_teacher(request, TASK, tiny_dataset, config, cache_dir=tmp_path / split, console=Told()).value

    assert value("split") == 0.875
    assert value("other") != 0.875


def test_what_it_was_trained_on_must_not_meet_validation_or_test(tiny_dataset, tmp_path):
    seen = tmp_path / "seen.txt"

    def note(*names, allow=False):
        seen.write_text("\n".join(names))
        return trained_on_note([seen], tiny_dataset, allow_overlap=allow)

    assert note("image3", "patient7", "image7.png") == (
        "--teacher-trained-on: 2 training images, none of validation and test"
    )
    words = "trained on 2 validation and 1 test images of this data, so that their figures would flatter it"
    with pytest.raises(InputError, match=words):
        note("\ufeffimage150.png", "patient0", "patient151", "patient199")  # as some editors begin a file
    assert note("patient150", allow=True) == (
        "Leakage allowed: the teacher was trained on 1 validation and 0 test images of this data"
    )
    assert "none of 2 lines is an image or a patient of this data (an image here: image0, a patient: patient0)" in note(
        "x", "y"
    )
    with pytest.raises(InputError, match=r"seen.txt: empty; write the id of an image or a patient on each line"):
        note("", " ")
    seen.unlink()
    with pytest.raises(InputError, match=r"--teacher-trained-on .*seen.txt: no such file; name the place"):
        trained_on_note([seen], tiny_dataset, allow_overlap=False)


def test_without_a_list_leakage_is_said_to_be_unknown_for_what_is_not_ours(tiny_dataset, tmp_path):
    told = Told()
    tell_what_it_has_seen(TeacherRequest((tmp_path / "own.safetensors",)), tiny_dataset, told)
    tell_what_it_has_seen(TeacherRequest((tmp_path / "own.safetensors", tmp_path / "m.onnx")), tiny_dataset, told)
    assert told.lines == [
        "m.onnx: whether validation or test images were trained on is not known; --teacher-trained-on LIST checks it"
    ]


def test_a_file_of_no_kind_is_refused_before_there_is_data(tmp_path):
    with pytest.raises(InputError, match=r"m.pth: not a model; give its .safetensors or .onnx file, or a table of its"):
        check_file(tmp_path / "m.pth", None, CPU)


def test_the_key_of_models_of_ours_is_as_in_earlier_versions():
    teacher = teacher_of(ModelConfig(), key="0" * 64)
    assert teacher.key == "60e05bd1b195af2f"
