"""The pointing game counts peaks in boxes against chance."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from explaining import QuadrantModel, predictor_of

from xlite.data.phantom.chest_records import FINDINGS
from xlite.errors import InputError
from xlite.explain.maps import explain
from xlite.explain.pointing import Box, Pointed, point, read_boxes, scores

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def test_hits_are_counted_by_label_with_an_exact_interval_against_the_boxes_area():
    pointed = [Pointed("Mass", hit, 0.1) for hit in (True,) * 8 + (False,) * 2] + [Pointed("Nodule", False, 0.02)]
    mass, nodule = scores(pointed)
    assert (mass.label, mass.num, mass.hits, mass.chance) == ("Mass", 10, 8, pytest.approx(0.1))
    assert (mass.low, mass.high) == (pytest.approx(0.4439, abs=1e-4), pytest.approx(0.9748, abs=1e-4))
    assert (mass.verdict, nodule.verdict) == ("above chance", "as chance")


def test_a_peak_in_any_of_the_labels_boxes_hits():
    picture = np.full((64, 64), 10, np.uint8)
    picture[40:56, 8:24] = 250
    found = explain(predictor_of(QuadrantModel()), picture, ["lower left", "upper left"])
    left, right = Box(0, 0.5, 0.5, 0.5), Box(0.5, 0.5, 0.5, 0.5)
    (hit,) = point(found, {"lower left": [right, left], "elsewhere": [left]})
    assert hit == Pointed("lower left", True, 0.5)
    (missed,) = point(found, {"lower left": [right]})
    assert missed == Pointed("lower left", False, 0.25)
    refused = replace(found[0], map=None, peak=())
    assert not left.holds(refused)


def test_nihs_list_is_read_with_its_broken_header_and_its_name_for_infiltration(tmp_path):
    table = HEADER + "1.png,Infiltrate,512,256,128,64,,,\n1.png,Mass,0,0,1024,1024,,,\n2.png,Gout,1,1,1,1\n"
    for name, content in (("b.csv", table.encode()), ("b.csv.gz", gzip.compress(table.encode()))):
        (tmp_path / name).write_bytes(content)
        boxes = read_boxes(tmp_path / name, FINDINGS)
        assert boxes == {"1": {"Infiltration": [Box(0.5, 0.25, 0.125, 0.0625)], "Mass": [Box(0, 0, 1, 1)]}}
    (tmp_path / "b.csv").write_text(HEADER + "1.png,Mass,0,0,many,1\n")
    with pytest.raises(InputError, match="row 2: write a name, a label and four numbers"):
        read_boxes(tmp_path / "b.csv", FINDINGS)
