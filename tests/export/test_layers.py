"""Which layers of a graph are first, last, gates and tokens, told from the graph alone."""

from onnx import helper
from small_net import small_net

from xlite.export.layers import Layers


def test_layers_of_a_network_with_squeeze_and_excitation() -> None:
    layers = Layers(small_net())
    assert list(layers.all) == ["stem", "reduce", "expand", "deep", "wide", "hidden", "last"]
    assert (layers.first, layers.last) == ({"stem"}, {"last"})
    assert layers.gates == {"reduce", "expand"}
    assert layers.tokens == set()
    assert layers.after_last == {"sigmoid"}


def test_blocks_are_the_modules_that_weights_are_named_by() -> None:
    assert Layers(small_net()).blocks == {
        "body": {"stem"},
        "body.0.se": {"reduce", "expand"},
        "body.0": {"deep", "wide"},
        "head": {"hidden", "last"},
    }


def test_a_product_of_two_activations_is_no_layer() -> None:
    model = small_net()
    model.graph.node.insert(20, helper.make_node("MatMul", ["logits", "logits"], ["square"], name="attention"))
    model.graph.node.insert(20, helper.make_node("MatMul", ["hidden_active", "head.0.weight"], ["token"], name="token"))
    layers = Layers(model)
    assert "attention" not in layers.all
    assert layers.tokens == {"token"}


def test_an_ensemble_has_a_last_layer_for_each_model() -> None:
    model = small_net()
    nodes = model.graph.node
    nodes[19].output[0] = "mine"
    nodes.insert(20, helper.make_node("Gemm", ["hidden_active", "head.1.weight"], ["two"], name="second", transB=1))
    nodes.insert(21, helper.make_node("Mean", ["mine", "two"], ["logits"], name="average"))
    layers = Layers(model)
    assert layers.last == {"last", "second"}
    assert layers.after_last == {"average", "sigmoid"}
