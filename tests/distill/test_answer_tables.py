"""A table of answers teaches: its images and labels are found by name, and what cannot be an answer is one line."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xlite.device import choose_device
from xlite.distill.teachers.answers import load_answers
from xlite.distill.teachers.image_ids import rows_of
from xlite.errors import InputError

CPU = choose_device("fp32", kind="cpu")
LABELS = ["a", "b", "c"]


def answers(num=200, *, seed=0):
    return np.random.default_rng(seed).random((num, 3)).round(4)


def frame(values=None, *, labels=LABELS, ids=None):
    values = answers() if values is None else values
    out = pd.DataFrame(values, columns=labels)
    out.insert(0, "image", [f"image{i}" for i in range(len(out))] if ids is None else ids)
    return out


def load(file, dataset, *, said="probabilities", kind="multilabel"):
    return load_answers(file, dataset, kind=kind, answers=said)


def csv(folder, table):
    table.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def said_of(member, rows):
    return member.answer(np.zeros((len(rows), 32, 32), np.uint8), None, np.asarray(rows), device=CPU)


def logit(p):
    return np.log(p) - np.log1p(-p)


def test_an_image_has_its_answer_whatever_the_view_and_the_order_of_rows(tiny_dataset, tmp_path):
    values = answers()
    shuffled = frame(values).sample(frac=1, random_state=1)
    member = load(csv(tmp_path, shuffled), tiny_dataset)
    np.testing.assert_allclose(said_of(member, [3, 199, 3]), logit(values[[3, 199, 3]]), rtol=1e-5)
    assert member.notes == (
        "t.csv: one answer an image, used for all its views; 140 of 140 training images (100%) have one",
    )


def test_rows_of_the_pixel_file_are_not_positions(tiny_dataset, tmp_path):
    values, moved = answers(), replace(tiny_dataset, rows=np.arange(200)[::-1].copy())
    np.testing.assert_allclose(
        said_of(load(csv(tmp_path, frame(values)), moved), [199, 0]), logit(values[[0, 199]]), rtol=1e-5
    )


def test_all_formats_say_the_same(tiny_dataset, tmp_path):
    values, table = answers(), frame()
    table.to_parquet(tmp_path / "t.parquet", index=False)
    table.set_index("image").to_parquet(tmp_path / "indexed.parquet")
    ids = np.array(table["image"], dtype=str)
    np.savez(tmp_path / "p.npz", ids=ids, labels=np.array(LABELS), probabilities=values)
    np.savez(tmp_path / "l.npz", ids=ids, labels=np.array(LABELS), logits=logit(values.clip(1e-6, 1 - 1e-6)))
    files = [csv(tmp_path, table), *(tmp_path / name for name in ("t.parquet", "indexed.parquet"))]
    members = [load(file, tiny_dataset) for file in files]
    members += [load(tmp_path / name, tiny_dataset, said=None) for name in ("p.npz", "l.npz")]
    for member in members:
        np.testing.assert_allclose(said_of(member, range(200)), logit(values.clip(1e-6, 1 - 1e-6)), atol=1e-4)
    assert len({member.key for member in members}) == 5


def test_a_json_beside_it_says_what_the_values_are(tiny_dataset, tmp_path):
    file = csv(tmp_path, frame())
    with pytest.raises(
        InputError, match=r"t.csv: are its values logits or probabilities\? Say it with --teacher-answers"
    ):
        load(file, tiny_dataset, said=None)
    file.with_suffix(".json").write_text(json.dumps({"answers": "probabilities"}))
    assert load(file, tiny_dataset, said=None).key == load(file, tiny_dataset).key
    with pytest.raises(InputError, match=r"says that its values are probabilities; leave out --teacher-answers logits"):
        load(file, tiny_dataset, said="logits")
    file.with_suffix(".json").write_text(json.dumps({"answers": "percent"}))
    with pytest.raises(InputError, match=r"t.json: `answers` is 'percent'; write logits or probabilities"):
        load(file, tiny_dataset, said=None)


def test_logits_and_probabilities_are_another_teacher_each(tiny_dataset, tmp_path):
    file = csv(tmp_path, frame(answers() * 2))
    as_logits = load(file, tiny_dataset, said="logits")
    np.testing.assert_allclose(said_of(as_logits, [5]), answers()[[5]] * 2, rtol=1e-6)
    with pytest.raises(InputError, match=r"t.csv: image\d+, [abc]: 1\.\d+ is outside 0 to 1; is it a logit\?"):
        load(file, tiny_dataset)


def test_certain_answers_are_clipped_and_classes_are_log_probabilities(tiny_dataset, tmp_path):
    values = answers()
    values[0] = [0, 1, 0.5]
    file = csv(tmp_path, frame(values))
    np.testing.assert_allclose(said_of(load(file, tiny_dataset), [0]), [[-13.8155, 13.8155, 0]], atol=1e-3)
    classes = load(file, tiny_dataset, kind="multiclass")
    np.testing.assert_allclose(said_of(classes, [0]), np.log([[1e-6, 1 - 1e-6, 0.5]]), atol=1e-4)


def test_labels_go_by_name_and_other_columns_are_left_out(tiny_dataset, tmp_path):
    table = frame().rename(columns={"b": "B_"})[["image", "c", "a", "B_"]].assign(age=56, note="x")
    member = load(csv(tmp_path, table.drop(columns="a")), tiny_dataset)
    said = said_of(member, range(140))
    np.testing.assert_allclose(said[:, 2], logit(answers()[:140, 2].clip(1e-6, 1 - 1e-6)), rtol=1e-4)
    assert np.isnan(said[:, 0]).all() and not np.isnan(said[:, 1:]).any()
    assert "t.csv: columns that are no label of the data: age, note" in member.notes
    assert "t.csv does not know a: no soft part from it" in member.notes
    with pytest.raises(InputError, match="it lacks a"):
        load(tmp_path / "t.csv", tiny_dataset, kind="multiclass")


def test_images_without_an_answer_get_none_and_below_half_of_them_it_is_refused(tiny_dataset, tmp_path):
    table = frame()
    strangers = frame(answers(3), ids=["x", "y", "z"])
    member = load(csv(tmp_path, pd.concat([table[60:], strangers])), tiny_dataset)
    said = said_of(member, range(200))
    assert np.isnan(said[:60]).all() and not np.isnan(said[60:]).any()
    assert member.notes[0].endswith("80 of 140 training images (57%) have one")
    assert member.notes[1] == "t.csv: 3 of its 143 ids are of no image here"
    with pytest.raises(InputError, match=r"it answers 69 of 140 training images \(49%\), below 50%"):
        load(csv(tmp_path, table[71:]), tiny_dataset)


def test_an_id_may_lack_or_have_folder_and_suffix_where_that_fits_one_image():
    ids = np.array(["a/one.png", "b/one.png", "two.dcm", "c/three.jpg", "1.2.840.1", "00001_000.png"])
    names = ["a/one.png", "a/one", "one.png", "one", "two", "/data/c/three.jpg", "three", "1.2.840.2", "00001_000", "x"]
    assert rows_of(names, ids).tolist() == [0, 0, -1, -1, 2, 3, 3, -1, 5, -1]
    assert rows_of(["C\\three.jpg"], ids).tolist() == [3]


def with_value(value, *, column="b"):
    table = frame()
    table[column] = table[column].astype(object)
    table.loc[4, column] = value
    return table


def of_ids(*changes):
    table = frame()
    for row, name in changes:
        table.loc[row, "image"] = name
    return table


WRONG = {
    "above 1": (with_value(1.5), r"image4, b: 1.5 is outside 0 to 1; is it a logit\?"),
    "below 0": (with_value(-0.1), r"image4, b: -0.1 is outside 0 to 1"),
    "empty": (with_value(None), r"image4, b: nan is not a finite number"),
    "infinite": (with_value(np.inf), r"image4, b: inf is not a finite number"),
    "text": (with_value("high"), r"column b holds other things than numbers"),
    "doubled": (of_ids((4, "image3")), r"image3 has two rows with different answers"),
    "doubled in two forms": (of_ids((4, "image3.png")), r"image3.png has two rows with different answers"),
    "no id": (of_ids((4, None)), r"row 6 has no image id"),
    "equal column": (frame().assign(b=0.25), r"every image has the same answer for b; was the model's input"),
    "nearly equal": (frame().assign(b=np.linspace(0.25, 0.255, 200)), r"the same answer for b; was the model"),
    "unknown ids": (frame(ids=[f"x{i}" for i in range(200)]), r"none of its 200 ids .*is x0, the data's image0"),
    "no common label": (frame(labels=["x", "y", "z"]), r"knows 3 labels \(x, y, z\), the data has 3"),
    "one column": (frame()[["image"]], r"write a row for each image: its id in the first column"),
    "no rows": (frame()[:0], r"write a row for each image"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_an_answer_is_one_line(what, tiny_dataset, tmp_path):
    table, line = WRONG[what]
    with pytest.raises(InputError, match=line) as caught:
        load(csv(tmp_path, table), tiny_dataset)
    assert "\n" not in str(caught.value) and "t.csv: " in str(caught.value)


def test_an_id_with_the_same_answer_twice_is_no_matter(tiny_dataset, tmp_path):
    assert load(csv(tmp_path, pd.concat([frame(), frame()[:3]])), tiny_dataset)


def test_numbers_as_ids_keep_their_leading_zeros(tiny_dataset, tmp_path):
    numbered = replace(tiny_dataset, ids=np.array([f"{i:05}" for i in range(200)]))
    assert load(csv(tmp_path, frame(ids=numbered.ids)), numbered)


def test_probabilities_called_logits_are_refused(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match=r"said to be logits, but all values lie from 0 to 1, as probabilities do"):
        load(csv(tmp_path, frame()), tiny_dataset, said="logits")


def test_files_that_are_no_table_are_one_line(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match=r"no.csv: no such file"):
        load(tmp_path / "no.csv", tiny_dataset)
    for name in ("t.csv", "t.parquet", "t.npz"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
        with pytest.raises(InputError, match=f"{name}: (not a table of answers|write a row)"):
            load(tmp_path / name, tiny_dataset)
    np.savez(tmp_path / "k.npz", ids=np.array(["image0"]), labels=np.array(LABELS), values=answers(1))
    with pytest.raises(InputError, match=r"k.npz: it holds ids, labels, values; store ids, labels, and one of logits"):
        load(tmp_path / "k.npz", tiny_dataset)
    np.savez(tmp_path / "s.npz", ids=np.array(["image0"]), labels=np.array(LABELS), logits=answers(2))
    with pytest.raises(InputError, match=r"s.npz: logits has shape \(2, 3\), ids and labels give \(1, 3\)"):
        load(tmp_path / "s.npz", tiny_dataset)
    np.savez(tmp_path / "o.npz", ids=np.array(["image0"], dtype=object), labels=np.array(LABELS), logits=answers(1))
    with pytest.raises(InputError, match=r"o.npz: not a table of answers \(.*pickle"):  # objects are never loaded
        load(tmp_path / "o.npz", tiny_dataset)
    lines = replace(tiny_dataset, targets=np.zeros((200, 8, 3), np.float32))
    with pytest.raises(InputError, match="one answer for an image, the data has one for each of its lines"):
        load(csv(tmp_path, frame()), lines)
