"""A sheet shows the picture with each map over it, whatever the names; the command draws, lists, touches no image."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import write_nih_folder
from explaining import QuadrantModel, predictor_of, save_untrained, untrained

from xlite.commands import explain as command
from xlite.data.slices import SlicePreprocess
from xlite.explain.maps import explain
from xlite.explain.overlay import overlay, sheet
from xlite.storage.files import write_json
from xlite.tasks.target_spec import MULTICLASS


def decoded(png):
    """(H, W, 3) of a PNG, blue, green, red."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def coloured(picture):
    """Share of its pixels that are not grey."""
    return (np.ptp(picture.astype(int), axis=2) > 20).mean()


@pytest.fixture(scope="module")
def found():
    """Two quadrants of a grey picture, the upper left and the lower right one."""
    picture = np.full((64, 64), 10, np.uint8)
    picture[8:24, 8:24], picture[40:56, 40:56] = 250, 200
    return explain(predictor_of(QuadrantModel()), picture, ["upper left", "lower right"])


def test_an_overlay_is_coloured_where_the_map_is_high_and_grey_where_it_is_0(found):
    one, without = decoded(overlay(found[0])), decoded(overlay(replace(found[0], map=None, note="no map: as a test")))
    assert one.shape == without.shape and coloured(one) > coloured(without) + 0.02
    changed = np.argwhere((one != without).any(axis=2))
    middle = np.array(one.shape[:2]) / 2
    in_picture = changed[(changed[:, 0] > 0.2 * one.shape[0]) & (changed[:, 0] < 0.75 * one.shape[0])]
    assert len(in_picture) > 1000 and (in_picture.mean(axis=0) < middle).all()  # the upper left


def test_a_sheet_has_a_panel_a_label_beside_the_picture(found):
    one, two = decoded(sheet(found[:1])), decoded(sheet(found, "name"))
    assert two.shape[1] > 1.9 * one.shape[1] and two.std() > 20 and two.max() == 255


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "<script>", "=cmd|' /C calc'!A0", "肺炎\x1b[2J\u202e", "x" * 300, "a\nb"]
)
def test_any_name_can_be_drawn(found, name):
    assert decoded(sheet([replace(found[0], label=name)], name)).std() > 20


def test_slices_are_in_one_row_a_label():
    preprocess = SlicePreprocess(48, num_slices=3)
    model = untrained(preprocess, backbone="lcnet_050", num_slices=3)
    predictor = predictor_of(model, labels=("a", "b", "c"), preprocess=preprocess, target_spec=MULTICLASS)
    stack = np.random.default_rng(1).integers(0, 255, (3, 48, 48, 3), dtype=np.uint8)
    rows = explain(predictor, stack, ["a", "b"], auxiliary=(2,))
    one, two = decoded(sheet(rows[:1])), decoded(sheet(rows))
    assert two.shape[1] == one.shape[1] and two.shape[0] > one.shape[0] + 150 and two.std() > 20


@pytest.fixture
def place(tmp_path):
    """Four images, a file that is none and a model."""
    write_nih_folder(tmp_path / "nih", 4)
    images = tmp_path / "images" / "=deep"
    images.mkdir(parents=True)
    for number, image in enumerate(sorted((tmp_path / "nih").rglob("*.png"))):
        shutil.copy(image, images / (f"<b>{number}.png" if number < 3 else os.fsdecode(b"no UTF-8 \xff.png")))
    (images / "table.png").write_text("a,b\n1,2\n")
    save_untrained(tmp_path / "m", backbone="lcnet_050")
    return tmp_path


def run(place, *words):
    words = [str(place / "images"), "--model", str(place / "m"), "--out", str(place / "sheets"), *words]
    return command.run(command.parser().parse_args(words))


def rows_of(place):
    with (place / "sheets" / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_draws_lists_what_it_cannot_read_and_leaves_the_images_as_they_are(place, capsys):
    def state():
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (place / "images").rglob("*.*")}

    before = state()
    assert run(place, "--labels", "Mass,Effusion") == 3
    said = capsys.readouterr().out
    assert "passed over: =deep/table.png: " in said and " of 5 drawn" in said and "images/=deep" not in said
    assert state() == before
    rows = rows_of(place)
    assert [row["label"] for row in rows] == ["Mass", "Effusion"] * 4 + [""]
    assert rows[0]["id"] == "'=deep/<b>0.png" and rows[-1]["note"].startswith("passed over: not an image")
    drawn = {row["sheet"] for row in rows} - {""}
    assert drawn == {path.name for path in (place / "sheets").glob("*.png")} and drawn
    for name in drawn:
        assert name.startswith("0000") and not set(name) & set("<>=/ ")
        assert decoded((place / "sheets" / name).read_bytes()).std() > 20


def test_labels_above_their_thresholds_are_drawn_and_images_without_one_are_listed(place, capsys):
    write_json(place / "m" / "metrics.json", {"models": ["model_0.safetensors"]})
    write_json(place / "m" / "thresholds.json", {"thresholds": {"Effusion": 1.0, "Mass": 0.0}})
    assert run(place) == 3
    assert [row["label"] for row in rows_of(place)[:4]] == ["Mass"] * 4 and list((place / "sheets").glob("*.png"))
    shutil.rmtree(place / "sheets")
    write_json(place / "m" / "thresholds.json", {"thresholds": {"Effusion": 1.0, "Mass": 1.0}})
    assert run(place) == 3
    told = [(row["label"], row["sheet"], row["note"]) for row in rows_of(place)[:4]]
    assert told == [("", "", "not drawn: no label is above its threshold")] * 4
    assert not list((place / "sheets").glob("*.png"))


def test_boxes_are_scored_and_images_without_are_told(place, capsys):
    header = "Image Index,Finding Label,Bbox [x,y,w,h]\n"
    boxes = [f"<b>{number}.{suffix},Mass,0,0,1024,1024\n" for number, suffix in enumerate(("png", "png", "jpg"))]
    (place / "boxes.csv").write_text(header + "".join(boxes))
    assert run(place, "--boxes", str(place / "boxes.csv")) == 0  # the file that is no image has none, and is not read
    assert [row["note"] for row in rows_of(place)[3:]] == ["not drawn: no box"] * 2
    said = capsys.readouterr().out
    assert "Mass" in said and "0.29 to 1.00" in said  # three of three hit a box that is the whole picture
    shutil.rmtree(place / "sheets")
    (place / "boxes.csv").write_text(header + "other.png,Mass,0,0,1024,1024\n")
    run(place, "--boxes", str(place / "boxes.csv"))
    assert "None of these files is among the 1 images with boxes" in capsys.readouterr().out


def test_the_command_runs_as_a_process(place):
    words = ["explain", "images", "--model", "m", "--top", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "xlite", *words], capture_output=True, text=True, cwd=place, timeout=120,
        env={**os.environ, "XLITE_HOME": str(place)},
    )  # fmt: skip
    assert done.returncode == 3 and not done.stderr, done.stderr
    assert len(list(place.glob("explained_*/*.png"))) >= 1
