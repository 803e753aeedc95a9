"""A preprocessing comes back from a model's description as it was, or is refused in one line."""

import json
import sys

import pytest

from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess import parameters
from xlite.data.preprocess_registry import described, preprocess_from
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.errors import InputError

OWN = """
from dataclasses import dataclass
from xlite.data.decode import ImagePreprocess

@dataclass(frozen=True)
class Inverted(ImagePreprocess):
    strength: float = 1.0
    version: int = 4

def not_a_class(**fields):
    raise SystemExit("called")
"""
IMAGE = {"kind": "ImagePreprocess", "image_size": 32, "clahe_clip": 2.0, "clahe_tiles": 8, "channels": 1, "version": 1}


@pytest.mark.parametrize(
    "preprocess",
    [ImagePreprocess(48, clahe_clip=0.0, channels=3), SlicePreprocess(24, num_slices=5), ScanLinePreprocess(16, 8)],
)
def test_every_preprocessing_comes_back_and_its_description_is_what_keys_the_cache(preprocess):
    description = json.loads(json.dumps(described(preprocess)))
    assert description == parameters(preprocess)  # no more: descriptions written before this one read the same
    assert preprocess_from(description, source="m.json") == preprocess


def test_a_class_of_ones_own_is_found_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "own_inputs.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    from own_inputs import Inverted  # type: ignore[import-not-found]

    description = described(Inverted(32, strength=0.5))
    assert description["class"] == "own_inputs:Inverted" and "class" not in parameters(Inverted(32))
    monkeypatch.delitem(sys.modules, "own_inputs")
    made = preprocess_from(description, source="m.json")
    assert type(made).__name__ == "Inverted" and parameters(made) == parameters(Inverted(32, strength=0.5))
    for place, reason in (
        ("own_inputs:Gone", "cannot be imported"),
        ("no_such_module:Inverted", "cannot be imported"),
        ("own_inputs:not_a_class", "is not an xlite.data.preprocess.Preprocess"),
        ("subprocess:Popen", "is not an xlite.data.preprocess.Preprocess"),
    ):
        with pytest.raises(InputError, match=reason):
            preprocess_from({**description, "class": place}, source="m.json")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "WaveletPreprocess"}, "m.json: its inputs were made by WaveletPreprocess, which this version"),
        ({"version": 0}, "version 0 of ImagePreprocess, this X-Lite makes version 1"),
        ({"version": None}, "version None"),
        ({"sharpness": 2}, "cannot be made from its description"),
        ({"channels": 4}, "channels must be 1"),
        ({"image_size": "large"}, "cannot be made"),
    ],
)
def test_what_this_code_does_not_make_is_refused_by_name(changes, reason):
    with pytest.raises(InputError, match=reason) as refusal:
        preprocess_from({**IMAGE, **changes}, source="m.json")
    assert "\n" not in str(refusal.value)
