"""8-bit and half precision graphs: what is quantised, what it costs, and which one is taken."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_net import ground_of, images, small_net

from xlite.errors import InputError
from xlite.export import choose
from xlite.export.choose import chosen, int8_candidates, most_sensitive
from xlite.export.half import half_weights
from xlite.export.judged import Judged, judge, judge_reference, opened, with_latencies
from xlite.export.quantise import Recipe, activation_ranges, prepared, quantised
from xlite.metrics.differences import Difference


def saved(tmp_path, model):
    onnx.save(model, tmp_path / "model.onnx")
    return prepared(tmp_path / "model.onnx")


def outputs(model, pixels, name="probabilities"):
    return opened(model.SerializeToString(), 1).run([name], {"pixels": pixels})[0]


def candidates(tmp_path, *, uneven, max_loss=0.02, tell=pytest.fail):
    model = small_net(uneven=uneven)
    ground = ground_of(tmp_path, model)
    reference, answers = judge_reference(ground, model.SerializeToString())
    assert reference.score == 1
    steps = []
    found = int8_candidates(
        *(ground, saved(tmp_path, model), answers),
        max_loss=max_loss,
        progress=lambda *step: steps.append(step),
        tell=tell,
    )
    assert steps[-1][0] == steps[-1][1]
    return found


def test_one_scale_for_uneven_channels_loses_and_one_each_does_not(tmp_path) -> None:
    found = {(each.weights, each.method, each.kept): each for each in candidates(tmp_path, uneven=True)}
    assert found["per tensor", "MinMax", "last layer"].loss > 0.05
    assert found["per channel", "MinMax", "last layer"].loss < 0.02
    taken = chosen(list(found.values()), 0.02)
    assert taken is not None and taken.weights == "per channel"


def test_where_all_is_accurate_no_block_is_left_float(tmp_path) -> None:
    found = candidates(tmp_path, uneven=False)
    assert [(each.weights, each.method) for each in found[:6]] == [
        (weights, method) for weights in ("per tensor", "per channel") for method in ("MinMax", "Entropy", "Percentile")
    ]
    assert [each.kept for each in found[6:]] == [
        "first, last layer",
        "gates, last layer",
        "first, gates, last layer",
        "last layer; all operators",
    ]


def test_where_nothing_is_accurate_enough_sensitive_blocks_stay_float(tmp_path) -> None:
    found = candidates(tmp_path, uneven=False, max_loss=-1.0)
    assert [each.kept for each in found[10:]] == [
        "1 sensitive block(s), last layer",
        "2 sensitive block(s), last layer",
        "3 sensitive block(s), last layer",
    ]


def test_a_graph_that_onnx_runtime_cannot_load_is_left_out_and_named(tmp_path, monkeypatch) -> None:
    def made(model, ranges, recipe):
        graph = quantised(model, ranges, recipe)
        if recipe.per_channel or recipe.every_operator:
            graph.graph.node[3].op_type = "NoSuchOperator"
        return graph

    monkeypatch.setattr(choose, "quantised", made)
    left_out = []
    found = candidates(tmp_path, uneven=False, tell=left_out.append)
    assert {each.weights for each in found} == {"per tensor"} and len(left_out) == 4
    assert all("ONNX Runtime" in line and "NoSuchOperator" in line for line in left_out)
    assert left_out[0].startswith("Left out: int8 per channel, ranges by MinMax, float: last layer: ")


def test_the_most_sensitive_block_is_the_uneven_one(tmp_path) -> None:
    model = saved(tmp_path, small_net(uneven=True))
    feeds = [{"pixels": images(16)}]
    order = most_sensitive(model, activation_ranges(model, feeds, "MinMax"), Recipe(False, "MinMax"), feeds)
    assert order[0] == "body.0"


def test_weights_are_8_bits_and_the_last_layer_is_float(tmp_path) -> None:
    model = saved(tmp_path, small_net())
    ranges = activation_ranges(model, [{"pixels": images(16)}], "MinMax")
    graph = quantised(model, ranges, Recipe(True, "MinMax", frozenset({"stem"})))
    kinds = sorted((tuple(one.dims), one.data_type) for one in graph.graph.initializer if len(one.dims) > 1)
    assert kinds == [
        ((2, 256), TensorProto.FLOAT),
        ((4, 24, 1, 1), TensorProto.INT8),
        ((24, 1, 3, 3), TensorProto.FLOAT),  # the stem, as asked
        ((24, 1, 3, 3), TensorProto.INT8),
        ((24, 4, 1, 1), TensorProto.INT8),
        ((24, 24, 1, 1), TensorProto.INT8),
        ((256, 24), TensorProto.INT8),
    ]
    onnx.checker.check_model(graph)


def test_an_8_bit_file_has_neither_shapes_nor_zero_points_of_zero(tmp_path) -> None:
    model = small_net()
    prepared_model = saved(tmp_path, model)
    ranges = activation_ranges(prepared_model, [{"pixels": images(16)}], "MinMax")
    graph = quantised(prepared_model, ranges, Recipe(False, "MinMax"))
    assert not graph.graph.value_info
    weights = {one.name for one in graph.graph.initializer if one.data_type in (TensorProto.INT8, TensorProto.INT32)}
    undone = [node for node in graph.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    assert undone and all(len(node.input) == 2 for node in undone)
    assert graph.ByteSize() < 0.45 * model.ByteSize()  # of 8,000 weights: names and scales count


def test_a_graph_without_layers_is_refused(tmp_path) -> None:
    model = small_net()
    del model.graph.node[4:]
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["normal", "axes"], ["vector"], keepdims=0))
    model.graph.node.append(onnx.helper.make_node("Identity", ["vector"], ["logits"]))
    model.graph.node.append(onnx.helper.make_node("Sigmoid", ["logits"], ["probabilities"]))
    with pytest.raises(InputError, match=r"model\.onnx: no layer but the last has weights"):
        saved(tmp_path, model)


def test_half_precision_halves_weights_and_hardly_changes_answers() -> None:
    model, pixels = small_net(), images(32)
    half = half_weights(model)
    onnx.checker.check_model(half)
    kinds = {one.name: one.data_type for one in half.graph.initializer}
    assert kinds["head.0.weight_float16"] == TensorProto.FLOAT16
    assert kinds["mean"] == TensorProto.FLOAT
    difference = np.abs(outputs(half, pixels) - outputs(model, pixels)).max()
    assert 0 < difference < 1e-3


def test_a_weight_too_large_for_half_precision_stays() -> None:
    model = small_net()
    huge = numpy_helper.from_array(np.full((256, 24), 1e5, np.float32), "head.0.weight")
    model.graph.initializer[5].CopyFrom(huge)
    assert "head.0.weight" in {one.name for one in half_weights(model).graph.initializer}


def test_what_is_judged_is_validation_and_the_test_part_stays_closed(tmp_path) -> None:
    model = small_net()
    ground = ground_of(tmp_path, model)
    with pytest.raises(PermissionError):
        ground.dataset.part("test")
    _, answers = judge_reference(ground, model.SerializeToString())
    assert len(answers) == 59 and ground.decisions(answers).shape == (118,)
    fed = np.concatenate([feed["pixels"] for feed in ground.calibration()])
    assert len(fed) == 60 and not (fed == 255).all(axis=(1, 2)).any()
    same = judge(ground, model, answers, ("fp16", "", "", ""))
    assert (same.loss, same.num_changed, same.num_decisions, same.distance) == (0, 0, 118, 0)


def test_decisions_that_change_are_counted(tmp_path) -> None:
    model = small_net()
    ground = ground_of(tmp_path, model)
    _, answers = judge_reference(ground, model.SerializeToString())
    moved = judge(ground, model, 1 - answers, ("fp16", "", "", ""))
    assert moved.num_changed == 118 and moved.difference is not None and moved.difference.mean == 1


def test_latencies_are_of_one_and_two_threads(tmp_path) -> None:
    model = small_net()
    ground = ground_of(tmp_path, model)
    reference, _ = judge_reference(ground, model.SerializeToString())
    (measured,) = with_latencies([reference], ground)
    assert measured.latencies is not None and 1 in measured.latencies
    assert all(0 < each.median_ms <= each.p95_ms for each in measured.latencies.values())


def scripted(loss: float, num_bytes: int, distance: float) -> Judged:
    return Judged("int8", "", "", "", b"0" * num_bytes, 0.8, Difference(-loss, 0, 0, 1), distance)


@pytest.mark.parametrize(
    ("graphs", "taken"),
    [
        ([(0.006, 100, 0.1), (0.02, 50, 0.1)], None),  # each loses more
        ([(0.006, 100, 0.1), (0.004, 200, 0.1)], 1),  # the only one that does not
        ([(0.000, 200, 0.1), (0.004, 100, 0.1)], 1),  # the smaller of two that do not
        ([(0.004, 100, 0.1), (0.001, 105, 0.2)], 1),  # about as small: the higher score
        ([(-0.02, 100, 0.2), (-0.001, 100, 0.1)], 1),  # above fp32 is chance: the nearer answers
    ],
)
def test_which_graph_is_taken(graphs, taken) -> None:
    made = [scripted(*each) for each in graphs]
    assert chosen(made, 0.005) is (None if taken is None else made[taken])
