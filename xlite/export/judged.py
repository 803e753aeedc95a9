"""A graph beside the fp32 one: its score on validation, decisions that change, size and latency."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
import onnxruntime

from xlite.cores import available_cpus
from xlite.data.dataset import Dataset
from xlite.errors import InputError
from xlite.export.quantise import Feed
from xlite.metrics.differences import Difference, paired_difference
from xlite.metrics.resampling import Weighted
from xlite.package.about import About
from xlite.package.predict import session_options
from xlite.tasks.target_spec import TargetSpec

NUM_CALIBRATION = 128
"""Training images that ranges of activations are measured on, spread evenly over the training part."""
THREADS = (1, 2)
_BATCH_PIXELS = 2**18
_NUM_TIMED = 20


@dataclass(frozen=True, eq=False)
class Ground:
    """The rows that graphs are judged on; the test part is not read.

    Attributes:
        dataset: as its study prepared it.
        target_spec: of its task.
        about: the packaged fp32 model.
    """

    dataset: Dataset
    target_spec: TargetSpec
    about: About

    @cached_property
    def positions(self) -> np.ndarray:
        """Of the validation part."""
        return self.dataset.part("val")

    @cached_property
    def targets(self) -> np.ndarray:
        """(N, ..., L) of validation."""
        return self.dataset.targets[self.positions]

    def calibration(self) -> list[Feed]:
        """Inputs of up to `NUM_CALIBRATION` training images, in small batches."""
        train = self.dataset.part("train")
        chosen = train[np.unique(np.linspace(0, len(train) - 1, NUM_CALIBRATION).round().astype(int))]
        return list(self._feeds(chosen, max(1, self._batch_size // 4)))

    def one(self) -> Feed:
        """The input of one validation image."""
        return next(self._feeds(self.positions[:1], 1))

    def answers(self, session: onnxruntime.InferenceSession) -> np.ndarray:
        """(N, ..., L) calibrated probabilities of validation."""
        feeds = self._feeds(self.positions, self._batch_size)
        return np.concatenate([session.run(["probabilities"], feed)[0] for feed in feeds])

    def score(self, answers: np.ndarray) -> Weighted:
        """The task's metric of these answers, as a function of row weights."""
        return self.target_spec.resampled_score(answers, self.targets)

    def decisions(self, answers: np.ndarray) -> np.ndarray:
        """Yes or no of each known label, at the package's thresholds; of classes the most probable one."""
        known = ~np.isnan(self.targets)
        if self.about.thresholds:
            limits = np.array([self.about.thresholds[label] for label in self.about.labels])
            return (answers >= limits)[known]
        return answers.argmax(-1)[known.any(-1)]

    def _feeds(self, positions: np.ndarray, size: int) -> Iterator[Feed]:
        pixels = self.dataset.open_pixels()
        for start in range(0, len(positions), size):
            some = positions[start : start + size]
            auxiliary = self.dataset.auxiliary_of(some)
            yield {"pixels": pixels[self.dataset.rows[some]], **({} if auxiliary is None else {"auxiliary": auxiliary})}

    @property
    def _batch_size(self) -> int:
        return max(1, _BATCH_PIXELS // int(np.prod(self.dataset.input_spec.shape)))


@dataclass(frozen=True)
class Latency:
    """Of one example on so many CPU threads, in ms."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True, eq=False)
class Judged:
    """One graph.

    Attributes:
        name: in words; weights, method and kept, of int8 alone, too.
        graph: serialised.
        score: the task's metric on validation.
        difference: from fp32, paired by patient; None of fp32 itself.
        distance: mean absolute difference of a probability from fp32's.
        num_changed, num_decisions: decisions on validation that are not fp32's, and all.
        latencies: by number of threads.
    """

    name: str
    weights: str
    method: str
    kept: str
    graph: bytes
    score: float
    difference: Difference | None = None
    distance: float = 0.0
    num_changed: int = 0
    num_decisions: int = 0
    latencies: Mapping[int, Latency] | None = None

    @property
    def size_mb(self) -> float:
        """Of the file, in 10^6 bytes."""
        return len(self.graph) / 1e6

    @property
    def loss(self) -> float:
        """How much lower the score is than fp32's; below 0 where it is higher."""
        return -self.difference.mean if self.difference else 0.0


class CannotRun(InputError):
    """ONNX Runtime cannot load a graph."""


def opened(graph: bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session of a serialised graph, with the options of predictions. Raises CannotRun."""
    try:
        return onnxruntime.InferenceSession(graph, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this
        reason = " ".join(str(error).split())[:200]
        raise CannotRun(f"ONNX Runtime {onnxruntime.__version__} cannot load this graph ({reason})") from None


def judge_reference(ground: Ground, graph: bytes) -> tuple[Judged, np.ndarray]:
    """The fp32 graph and its answers."""
    answers = ground.answers(opened(graph))
    score = float(ground.score(answers)(np.ones(len(answers))))
    return Judged("fp32", "", "", "", graph, score, num_decisions=len(ground.decisions(answers))), answers


def judge(
    ground: Ground, model: onnx.ModelProto, reference: np.ndarray, names: tuple[str, str, str, str], *, seed: int = 0
) -> Judged:
    """Another graph beside the fp32 one, whose answers are `reference`.

    Raises:
        InputError: all rows of validation are of one patient, or the metric is undefined there. CannotRun, as `opened`.
    """
    graph = model.SerializeToString()
    answers = ground.answers(opened(graph))
    groups = ground.dataset.groups[ground.positions]
    score = ground.score(answers)
    difference = paired_difference([score], [ground.score(reference)], groups, seed=seed)
    before, after = ground.decisions(reference), ground.decisions(answers)
    return Judged(
        *names,
        graph=graph,
        score=float(score(np.ones(len(answers)))),
        difference=difference,
        distance=float(np.nanmean(np.abs(answers - reference))),
        num_changed=int((before != after).sum()),
        num_decisions=len(before),
    )


def with_latencies(graphs: Sequence[Judged], ground: Ground) -> list[Judged]:
    """The graphs with their latencies, measured in turns, so that a machine's slow moments meet all of them."""
    feed = ground.one()
    threads = [number for number in THREADS if number <= available_cpus()]
    found: list[dict[int, Latency]] = [{} for _ in graphs]
    for number in threads:
        sessions = [opened(each.graph, number) for each in graphs]
        times: list[list[float]] = [[] for _ in graphs]
        for _ in range(_NUM_TIMED):
            for session, own in zip(sessions, times, strict=True):
                session.run(["probabilities"], feed)  # brings its weights into the caches
                started = time.perf_counter()
                session.run(["probabilities"], feed)
                own.append(1e3 * (time.perf_counter() - started))
        for own, by_threads in zip(times, found, strict=True):
            by_threads[number] = Latency(statistics.median(own), sorted(own)[int(0.95 * len(own)) - 1])
    return [replace(each, latencies=by_threads) for each, by_threads in zip(graphs, found, strict=True)]
