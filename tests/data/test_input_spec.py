"""An input's spec says what models, probes and batches need to know of its shape."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from xlite.data.input_spec import InputSpec

GREY, COLOUR = InputSpec("image", (32, 32)), InputSpec("image", (32, 32, 3))
SLICES = InputSpec("slices", (7, 24, 24, 3), auxiliary=("level",))
LINES = InputSpec("lines", (64, 128), "<f2", auxiliary=("num_lines",))


@pytest.mark.parametrize(
    ("spec", "channels", "image_size", "num_slices", "model_shape"),
    [
        (GREY, 1, 32, 1, (2, 32, 32)),
        (COLOUR, 3, 32, 1, (2, 3, 32, 32)),
        (SLICES, 3, 24, 7, (2, 7, 24, 24, 3)),
        (LINES, 1, 128, 1, (2, 64, 128)),
        (InputSpec("lines", (64, 128, 2), "<f2"), 2, 128, 1, (2, 2, 64, 128)),
    ],
)
def test_channels_size_slices_and_the_axes_that_models_take(spec, channels, image_size, num_slices, model_shape):
    assert (spec.channels, spec.image_size, spec.num_slices) == (channels, image_size, num_slices)
    assert np.zeros((2, *spec.shape)).transpose(spec.model_axes).shape == model_shape


def test_a_shape_of_another_layout_is_no_spec():
    with pytest.raises(AssertionError):
        InputSpec("slices", (32, 32))


def test_the_range_of_auxiliary_integers_comes_from_the_data_and_an_example_is_within_it():
    spec = SLICES.with_auxiliary(np.array([[0], [4], [2]]))
    pixels, auxiliary = spec.example()
    assert spec.auxiliary_max == (4,) and auxiliary.tolist() == [[4]]
    assert pixels.shape == (1, 7, 24, 24, 3) and pixels.dtype == np.uint8
    assert GREY.example()[1] is None
    with pytest.raises(AssertionError, match="level"):
        SLICES.with_auxiliary(None)


def test_a_spec_survives_json():
    spec = SLICES.with_auxiliary(np.array([[3]]))
    assert InputSpec.from_json(json.loads(json.dumps(asdict(spec)))) == spec
