"""Which 8-bit graph to take: every way to quantise is measured on validation; sensitive blocks may stay float."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from onnxruntime.quantization import TensorsData

from xlite.errors import InputError
from xlite.export.judged import CannotRun, Ground, Judged, judge, opened
from xlite.export.layers import Layers
from xlite.export.quantise import METHODS, Feed, Method, Recipe, activation_ranges, quantised

NUM_KEPT_BLOCKS = (1, 2, 3, 5, 8)
"""How many of the most sensitive blocks stay float, where nothing else is accurate enough."""
_LARGER = 1.1
"""A file up to so many times the smallest counts as equally small."""


def int8_candidates(
    ground: Ground,
    model: onnx.ModelProto,
    reference: np.ndarray,
    *,
    max_loss: float,
    progress: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> list[Judged]:
    """Every 8-bit graph that was tried, judged.

    First all layers but the last, per tensor and per channel, by each method. Then, in the best of these ways, with
    further layers float: the first, gates, tokens; and with every operator in 8 bits. If all lose more than `max_loss`,
    with those blocks float whose quantisation alone moves the logits most.

    Args:
        model: `prepared`.
        reference: the fp32 graph's answers on validation.
        progress: called with (done, total) steps.
        tell: called with a line on each graph that ONNX Runtime cannot load, and which is left out.

    Raises:
        InputError: an operator cannot be quantised, ONNX Runtime can load none, or as `judge`.
    """
    layers, feeds = Layers(model), ground.calibration()
    recipes = [Recipe(per_channel, method) for per_channel in (False, True) for method in METHODS]
    total = len(METHODS) + len(recipes)
    ranges: dict[Method, TensorsData] = {}
    for method in METHODS:
        ranges[method] = activation_ranges(model, feeds, method)
        progress(len(ranges), total)
    found: list[tuple[Recipe, Judged]] = []

    def try_all(recipes: Sequence[Recipe], total: int) -> None:
        for done, recipe in enumerate(recipes, start=total - len(recipes) + 1):
            graph = quantised(model, ranges[recipe.method], recipe)
            names = ("int8", recipe.weights, recipe.method, recipe.described)
            try:
                found.append((recipe, judge(ground, graph, reference, names)))
            except CannotRun as error:
                tell(f"Left out: int8 {recipe.weights}, ranges by {recipe.method}, float: {recipe.described}: {error}")
            progress(done, total)

    try_all(recipes, total)
    if not found:
        raise InputError("ONNX Runtime can load no 8-bit graph of this model; use --fp16")
    best = min(found, key=lambda pair: (max(pair[1].loss, 0), pair[1].distance))[0]
    variants = list(_variants(best, layers))
    try_all(variants, total + len(variants))
    if min(each.loss for _, each in found) > max_loss:
        half = feeds[::2]  # of the images, spread over the training part like all
        order = most_sensitive(model, ranges[best.method], best, half)
        kept = [_keeping(best, layers, order[:num]) for num in NUM_KEPT_BLOCKS if num < len(order)]
        try_all(kept, total + len(variants) + len(kept))
    return [judged for _, judged in found]


def chosen(candidates: Sequence[Judged], max_loss: float) -> Judged | None:
    """The one to ship; None if each loses more than `max_loss`.

    Of those that do not, the smallest files, up to a tenth apart; of these the highest score, where one above fp32's
    counts as fp32's, since it is chance; then the one whose probabilities are nearest.
    """
    accepted = [each for each in candidates if each.loss <= max_loss]
    smallest = min((len(each.graph) for each in accepted), default=0)
    small = [each for each in accepted if len(each.graph) <= _LARGER * smallest]
    return min(small, key=lambda each: (max(each.loss, 0.0), each.distance), default=None)


def most_sensitive(model: onnx.ModelProto, ranges: TensorsData, recipe: Recipe, feeds: Sequence[Feed]) -> list[str]:
    """The blocks, first the one whose quantisation, all else float, moves the logits most (mean squared)."""
    layers = Layers(model)

    def logits(graph: onnx.ModelProto) -> np.ndarray:
        session = opened(graph.SerializeToString())
        return np.concatenate([session.run(["logits"], feed)[0] for feed in feeds])

    reference, moved = logits(model), {}
    for block, names in layers.blocks.items():
        if names <= layers.last:
            continue
        alone = Recipe(recipe.per_channel, recipe.method, frozenset(layers.all) - names)
        moved[block] = float(np.square(logits(quantised(model, ranges, alone)) - reference).mean())
    return sorted(moved, key=moved.__getitem__, reverse=True)


def _variants(best: Recipe, layers: Layers) -> Iterator[Recipe]:
    """`best` with more layers float, as far as the graph has them, and with every operator quantised."""
    sets = {"first": layers.first, "gates": layers.gates, "tokens": layers.tokens}
    sets["first, gates"] = layers.first | layers.gates if layers.first and layers.gates else frozenset()
    for name, kept in sets.items():
        if kept and kept < layers.all.keys() - layers.last:
            yield Recipe(best.per_channel, best.method, kept, f"{name}, last layer")
    yield Recipe(best.per_channel, "MinMax", described="last layer; all operators", every_operator=True)


def _keeping(best: Recipe, layers: Layers, blocks: Sequence[str]) -> Recipe:
    kept = frozenset().union(*(layers.blocks[block] for block in blocks))
    return Recipe(best.per_channel, best.method, kept, f"{len(blocks)} sensitive block(s), last layer")
