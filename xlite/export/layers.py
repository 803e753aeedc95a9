"""Which layers of an ONNX graph have weights, and which of them are the first, the last, of a gate, or of tokens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx

WEIGHTED = ("Conv", "Gemm", "MatMul")
_POOLING = ("ReduceMean", "GlobalAveragePool")


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers with weights of a graph with outputs "logits" and "probabilities"; every one by its node's name."""

    model: onnx.ModelProto

    @cached_property
    def all(self) -> dict[str, onnx.NodeProto]:
        """Convolutions and products with a constant matrix, in the graph's order."""
        return {
            node.name: node
            for node in self.model.graph.node
            if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in self._constants
        }

    @cached_property
    def last(self) -> frozenset[str]:
        """Those that give the logits, of every model in the graph."""
        return frozenset(self._nearest(["logits"]))

    @cached_property
    def after_last(self) -> frozenset[str]:
        """Nodes that compute with logits: averages, calibration, probabilities."""
        return self._below(output for name in self.last for output in self.all[name].output)

    @cached_property
    def first(self) -> frozenset[str]:
        """Those that no other layer stands before."""
        below = self._below(output for node in self.all.values() for output in node.output)
        return frozenset(name for name in self.all if name not in below)

    @cached_property
    def gates(self) -> frozenset[str]:
        """Convolutions of an image's mean: squeeze and excitation."""
        return frozenset(name for name, node in self.all.items() if node.op_type == "Conv" and self._pooled(node))

    @cached_property
    def tokens(self) -> frozenset[str]:
        """Products with a matrix for each token: attention, and the feed-forward layers of transformers."""
        return frozenset(name for name, node in self.all.items() if node.op_type == "MatMul") - self.last

    @cached_property
    def blocks(self) -> dict[str, frozenset[str]]:
        """The layers by the module that they are part of, as the weights' names tell; nameless ones alone."""
        found: dict[str, set[str]] = {}
        for name, node in self.all.items():
            weight = node.input[1]
            module = weight.rsplit(".", 2)[0] if weight.count(".") > 1 else name
            found.setdefault(module, set()).add(name)
        return {module: frozenset(names) for module, names in found.items()}

    @cached_property
    def _constants(self) -> frozenset[str]:
        return frozenset(one.name for one in self.model.graph.initializer)

    @cached_property
    def _producers(self) -> dict[str, onnx.NodeProto]:
        return {output: node for node in self.model.graph.node for output in node.output}

    def _nearest(self, tensors: Iterable[str]) -> Iterator[str]:
        """The names of the closest layers above these tensors."""
        seen, left = set(), list(tensors)
        while left:
            node = self._producers.get(left.pop())
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            if node.name in self.all:
                yield node.name
            else:
                left.extend(node.input)

    def _below(self, tensors: Iterable[str]) -> frozenset[str]:
        """The names of all nodes that depend on these tensors; nodes of a graph are in the order of computation."""
        reached, found = set(tensors), set()
        for node in self.model.graph.node:
            if reached.intersection(node.input):
                found.add(node.name)
                reached.update(node.output)
        return frozenset(found)

    def _pooled(self, node: onnx.NodeProto) -> bool:
        """Whether all that this node computes with, but for constants, comes from a mean over the image."""
        inputs = [name for name in node.input if name and name not in self._constants]
        above = [self._producers.get(name) for name in inputs]
        return bool(above) and all(one is not None and (one.op_type in _POOLING or self._pooled(one)) for one in above)
