"""A map is of the label's own logit, of all members, over every architecture, and is refused where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from explaining import PLAIN, QUADRANTS, QuadrantModel, predictor_of, untrained

from xlite.data.decode import ImagePreprocess
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.errors import InputError
from xlite.explain import gradients
from xlite.explain.maps import explain
from xlite.tasks.target_spec import MULTICLASS

BOTTOM_RIGHT = (slice(32, 64), slice(32, 64))
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
SEARCHED = (
    *("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100", "mobilenetv3_large_100"),
    *("efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnetv2_s", "convnext_tiny", "densenet121", "resnet10t"),
)


def bright(*quadrants):
    """(64, 64) dark, with a bright block in the middle of these quadrants, the later ones fainter."""
    picture = np.full((64, 64), 10, np.uint8)
    for order, quadrant in enumerate(quadrants):
        top, left = 32 * (quadrant // 2), 32 * (quadrant % 2)
        picture[top + 8 : top + 24, left + 8 : left + 24] = 250 - 40 * order
    return picture


def test_each_labels_map_lies_where_its_own_logit_reads():
    predictor = predictor_of(QuadrantModel())
    found = explain(predictor, bright(0, 3))
    assert [one.label for one in found] == ["upper left", "lower right"]  # those above 0.5, the surest first
    first, second = found
    assert first.map[:32, :32].max() == 1 and first.map[:28, 36:].max() == 0 and first.map[36:].max() == 0
    assert second.map[BOTTOM_RIGHT].max() == 1 and second.map[:28].max() == 0
    assert first.peak < (32, 32) < second.peak
    answer = predictor.predict(bright(0, 3))
    assert all(one.probability == pytest.approx(answer[one.label]) and one.threshold == 0.5 for one in found)


@pytest.mark.parametrize("label", QUADRANTS)
def test_a_label_that_is_asked_for_is_explained_whatever_its_probability(label):
    (found,) = explain(predictor_of(QuadrantModel()), NOISE, [label])
    row, column = found.peak
    assert QUADRANTS[2 * (row >= 32) + (column >= 32)] == label


def test_of_classes_the_most_probable_one_is_explained():
    predictor = predictor_of(QuadrantModel(), target_spec=MULTICLASS)
    (found,) = explain(predictor, bright(2))
    assert found.label == "lower left" and found.threshold is None and found.peak[0] >= 32 > found.peak[1]
    assert [one.label for one in explain(predictor, bright(2, 1, 3), top=3)] == [QUADRANTS[k] for k in (2, 1, 3)]


def test_no_label_above_its_threshold_gives_no_map_and_an_unknown_one_is_named():
    predictor = predictor_of(QuadrantModel())
    assert explain(predictor, bright()) == []
    with pytest.raises(InputError, match="no label 'Heart'; the model has upper left, "):
        explain(predictor, NOISE, ["Heart"])


def test_an_ensembles_map_is_the_mean_of_its_members_before_negative_evidence_is_cut_off():
    both = predictor_of(QuadrantModel(), QuadrantModel(reads=(3, 1, 2, 0)))
    (found,) = explain(both, bright(0, 3), ["upper left"])
    assert found.map[:32, :32].max() == 1 and 0.8 < found.map[BOTTOM_RIGHT].max() < 1  # 210 / 250
    against = predictor_of(QuadrantModel(), QuadrantModel(sign=-1.0))
    (found,) = explain(against, NOISE, ["upper left"])
    assert found.map is None and "no map" in found.note


def test_what_is_no_map_is_refused_and_says_why():
    broken = QuadrantModel()
    broken.backbone.body.scale.data.fill_(torch.nan)
    (found,) = explain(predictor_of(broken), NOISE, ["upper left"])
    assert found.map is None and found.peak == () and "NaN" in found.note
    (found,) = explain(predictor_of(QuadrantModel(sign=-1.0)), NOISE, ["upper left"])
    assert found.map is None and "nothing in the picture speaks for this label" in found.note
    flat = predictor_of(untrained(PLAIN, backbone="lcnet_050"), labels=("a", "b", "c"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xlite.explain.maps.class_activations", lambda *_: np.full((1, 7, 7), 0.25, np.float32))
        (found,) = explain(flat, NOISE, ["a"])
    assert found.map is None and "the same everywhere (7 x 7 cells)" in found.note


@pytest.mark.parametrize("attention", ["none", "mhsa", "performer"])
@pytest.mark.parametrize(
    "backbone",
    [
        *("lcnet_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in SEARCHED),
    ],
)
def test_every_backbone_and_attention_has_maps_of_its_labels_and_is_left_as_it_was(backbone, attention):
    model = untrained(PLAIN, backbone=backbone, attention=attention)
    predictor = predictor_of(model, labels=("a", "b", "c"))
    before = predictor.predict(NOISE)
    found = explain(predictor, NOISE, ["a", "b", "c"])
    maps = [one.map for one in found if one.map is not None]
    assert len(maps) >= 2 and not np.allclose(maps[0], maps[1], atol=0.05)
    assert all(one.shape == (64, 64) and one.min() >= 0 and one.max() == 1 for one in maps)
    cells = (4, 4) if backbone.startswith("vit") else (8, 8)  # a transformer has one resolution
    assert all(one.cells == cells for one in found)
    assert predictor.predict(NOISE) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("backbone", ["lcnet_050", "vit_tiny_patch16_224"])
def test_without_attention_the_map_of_the_last_layer_is_torchcams_grad_cam(backbone, monkeypatch):
    from torchcam.methods import GradCAM

    monkeypatch.setattr(gradients, "LEAST_CELLS", 1)
    model = untrained(PLAIN, backbone=backbone)
    predictor = predictor_of(model, labels=("a", "b", "c"))
    (one,) = PLAIN.inputs(NOISE)
    found = gradients.class_activations(predictor, one, [0, 1, 2])
    with GradCAM(model, "backbone") as extractor:
        for label in range(3):
            (expected,) = extractor(label, model(torch.from_numpy(NOISE)[None]), normalized=False)
            scale = float(expected.abs().max()) + 1e-12
            # Grad-CAM's mean gradient times the number of cells is the sum of all of them.
            np.testing.assert_allclose(found[label].clip(0) / scale, expected[0].numpy() / scale, atol=1e-3)


def test_from_192_px_on_the_map_is_of_the_backbones_output():
    model = untrained(ImagePreprocess(64), backbone="lcnet_050")
    assert gradients.mapped_layer(model, 192) is model.backbone
    assert gradients.mapped_layer(model, 160) is not model.backbone


def test_maps_depend_on_the_weights_not_on_the_picture_alone():
    maps = []
    for seed in range(6):
        model = untrained(PLAIN, seed=seed, backbone="lcnet_050")
        maps += [
            one.map.ravel()
            for one in explain(predictor_of(model, labels=("a", "b", "c")), NOISE, ["a"])
            if one.map is not None
        ]
    correlations = np.corrcoef(maps)[np.triu_indices(len(maps), 1)]
    assert len(maps) >= 4 and np.abs(correlations.mean()) < 0.3


def test_of_slices_each_has_a_map_in_the_scale_of_all_and_its_weight():
    preprocess = SlicePreprocess(48, num_slices=3)
    model = untrained(preprocess, backbone="lcnet_050", num_slices=3)
    predictor = predictor_of(model, labels=("a", "b", "c"), preprocess=preprocess, target_spec=MULTICLASS)
    stack = np.random.default_rng(1).integers(0, 255, (3, 48, 48, 3), dtype=np.uint8)
    with torch.no_grad():
        model.aggregator.log_weights.copy_(torch.tensor([0.0, 30.0, 0.0]))
    found = [one for one in explain(predictor, stack, ["a", "b", "c"], auxiliary=(2,)) if one.map is not None]
    assert found and all(one.weights == pytest.approx((0, 1, 0), abs=1e-6) and one.cells == (6, 6) for one in found)
    for one in found:
        assert one.map.shape == (3, 48, 48) and one.peak[0] == 1
        assert one.map[1].max() == 1 and one.map[[0, 2]].max() < 1e-6


def line_predictor(window_lines=16):
    """A scan-line model that reads points 8 to 11 of a line only."""
    preprocess = ScanLinePreprocess(points=32, window_lines=window_lines)
    model = untrained(preprocess, layers=1, width=16, ffn_width=16, attention_heads=2)
    with torch.no_grad():
        model.embed.weight[:, :8] = 0
        model.embed.weight[:, 12:] = 0
    return predictor_of(model, labels=("a", "b", "c"), preprocess=preprocess, target_spec=MULTICLASS)


def test_along_scan_lines_only_the_points_that_a_model_reads_speak(tmp_path: Path):
    scan = np.random.default_rng(2).normal(size=(40, 32))
    np.save(tmp_path / "scan.npy", scan)
    predictor = line_predictor()
    found = explain(predictor, tmp_path / "scan.npy")
    answers = predictor.predict(tmp_path / "scan.npy")
    classes = [max(line, key=line.get) for line in answers]
    assert sorted(line for one in found for line in one.lines) == list(range(40))  # each line is of one class
    for one in found:
        assert [classes[line] for line in one.lines] == [one.label] * len(one.lines)
        assert one.map.shape == one.pixels.shape == (40, 32) and one.map.max() == 1
        assert one.map[:, :8].max() == one.map[:, 12:].max() == 0


def test_a_line_is_explained_by_its_own_window(tmp_path: Path):
    scan = np.random.default_rng(3).normal(size=(40, 32))
    np.save(tmp_path / "scan.npy", scan)
    predictor = line_predictor()
    seen = {line: one for one in explain(predictor, tmp_path / "scan.npy") for line in one.lines}
    with pytest.MonkeyPatch.context() as patch:
        asked = []
        real = gradients.line_saliency
        patch.setattr(
            "xlite.explain.maps.line_saliency", lambda p, w, k, lines: asked.append((k, lines)) or real(p, w, k, lines)
        )
        explain(predictor, tmp_path / "scan.npy", [seen[39].label])
    assert asked[-1][1][-1] == 15  # the last window ends with the scan, whose 40th line is its 16th
