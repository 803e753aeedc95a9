"""What a package says of its model survives ONNX metadata, and a field that was edited is found."""

import json
from dataclasses import fields

import numpy as np
import pytest
from small_package import about_of

from xlite.data.decode import ImagePreprocess
from xlite.errors import InputError
from xlite.package.about import About

ABOUT = about_of(
    ImagePreprocess(image_size=24, channels=3),
    labels=("Effusion", "=cmd|' /C calc'!A0", "Ödem <script>"),
    calibration={"slopes": [1.25]},
    training_inputs={"side": [10, 20]},
)


def test_metadata_give_the_same_description_back_with_its_preprocessing() -> None:
    metadata = ABOUT.to_metadata()
    assert all(isinstance(text, str) for text in metadata.values())
    again = About.from_metadata({**metadata, "producer": "someone else's"}, source="model.onnx")
    assert again == ABOUT
    assert again.preprocessing(source="model.onnx") == ImagePreprocess(image_size=24, channels=3)
    assert again.input_spec == ABOUT.input_spec and again.input_spec.shape == (24, 24, 3)
    assert not again.exclusive and np.dtype(again.input_spec.dtype) == np.uint8


@pytest.mark.parametrize("name", [field.name for field in fields(About)])
def test_each_field_that_is_edited_is_found(name: str) -> None:
    metadata = ABOUT.to_metadata()
    metadata[f"xlite_{name}"] = json.dumps("edited")
    with pytest.raises(InputError, match=r"^m: its metadata were changed after the export"):
        About.from_metadata(metadata, source="m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {}, "not a packaged model of X-Lite"),
        (lambda m: {**m, "xlite_format": "2"}, "package format 2, but this version reads format 1"),
        (lambda m: {name: text for name, text in m.items() if name != "xlite_labels"}, "were changed after the export"),
        (lambda m: {**m, "xlite_more": "1"}, "were changed after the export"),
    ],
)
def test_other_metadata_are_refused(change, message) -> None:
    with pytest.raises(InputError, match=message):
        About.from_metadata(change(ABOUT.to_metadata()), source="m")
