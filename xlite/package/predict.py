"""Predictions of a packaged model by ONNX Runtime on the CPU: no PyTorch, the same methods as `xlite.predictor`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xlite.cores import available_cpus
from xlite.data.preprocess import ModelInput, Preprocess
from xlite.errors import InputError
from xlite.package.about import About
from xlite.package.manifest import MODEL, open_manifest
from xlite.package.sources import Answer, Source, batch_arrays, model_inputs, named, rows_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

_MAX_PIXELS = 2**19
"""Pixels of a batch: about 10 images of 224 px. More are no faster on a CPU and take more memory."""


@dataclass(frozen=True)
class PackagePredictor:
    """A packaged model; see `open_package`.

    Attributes:
        about: what it is.
        preprocess: from a raw file to the graph's input.
        session: the loaded graph. Several threads may use it at once.
    """

    about: About
    preprocess: Preprocess
    session: "InferenceSession"

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return self.about.labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Of calibrated probabilities, by label: at or above it the answer is yes. {} for classes."""
        return self.about.thresholds

    def predict(self, source: Source, auxiliary: Sequence[int] = ()) -> Answer:
        """The calibrated probability of each label; for a scan, a list with one such dictionary a line.

        Args:
            source: as in `xlite.predictor.Predictor.predict`: a path, an `Item` or an array.
            auxiliary: the integers that go with an item or array, e.g. (level,) of slices.

        Raises:
            InputError: the file cannot be read, or the source does not fit this model.
        """
        return self.predict_batch([source], [auxiliary])[0]

    def predict_batch(
        self, sources: Sequence[Source], auxiliary: Sequence[Sequence[int]] | None = None
    ) -> list[Answer]:
        """`predict` for several sources, in batches."""
        given = zip(sources, auxiliary or [()] * len(sources), strict=True)
        return [named(self.labels, rows) for rows in self.rows([self.inputs(*pair) for pair in given])]

    def inputs(self, source: Source, auxiliary: Sequence[int] = ()) -> list[ModelInput]:
        """The graph's inputs of one source: one, or the windows of a scan. Raises InputError as `predict` does."""
        return model_inputs(self.preprocess, source, auxiliary, self.about.input_spec.auxiliary_max)

    def rows(self, inputs: Sequence[Sequence[ModelInput]]) -> list[np.ndarray]:
        """For the inputs of each source its (L,) probabilities, of a scan (lines, L)."""
        return rows_of(inputs, self.answers([one for some in inputs for one in some]))

    def answers(self, inputs: Sequence[ModelInput]) -> np.ndarray:
        """(N, ..., L) float32 calibrated probabilities of N inputs."""
        if not inputs:
            return np.empty((0, len(self.labels)), np.float32)
        spec, parts = self.about.input_spec, []
        for start in range(0, len(inputs), self.batch_size):
            pixels, auxiliary = batch_arrays(spec, inputs[start : start + self.batch_size])
            fed = {"pixels": pixels} if auxiliary is None else {"pixels": pixels, "auxiliary": auxiliary}
            parts.append(self.session.run(["probabilities"], fed)[0])
        return np.concatenate(parts)

    @cached_property
    def batch_size(self) -> int:
        """The most inputs that are computed together."""
        spec = self.about.input_spec
        return max(1, _MAX_PIXELS // (math.prod(spec.shape) // spec.channels))


def open_package(path: str | Path, *, threads: int | None = None) -> PackagePredictor:
    """Open a packaged model to predict from raw files.

    Args:
        path: the package's folder, a study's `promoted/`, whose files are checked; or its model.onnx alone.
        threads: that compute one batch; default: one for each core.

    Raises:
        InputError: no package, a file missing or changed, a newer format; a graph that ONNX Runtime cannot load, or
            that is not the one described.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        about = open_manifest(path)
        path = path / MODEL
        session = _session(path, threads)
        if _described(session, path) != about:
            raise InputError(f"{path}: it is another model than package.json describes; package it again")
    else:
        session = _session(path, threads)
        about = _described(session, path)
    _check_graph(session, about, path)
    return PackagePredictor(about, about.preprocessing(source=str(path)), session)


def session_options(threads: int | None) -> "SessionOptions":
    """Of every session of a packaged graph.

    Sums of 8-bit products are exact: an x86 CPU without 8-bit dot products would add pairs of them in 16 bits, which
    overflow. It then takes kernels that are slower; float graphs, and other CPUs, compute as they would without this.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised; its own lines on stderr would only repeat it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are needed for decoding
    if not _has_8bit_dot_products():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _has_8bit_dot_products() -> bool:
    """Whether this CPU is known to have them, as Linux tells (avx512_vnni, avx_vnni)."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _described(session: "InferenceSession", path: Path) -> About:
    return About.from_metadata(session.get_modelmeta().custom_metadata_map, source=str(path))


def _session(path: Path, threads: int | None) -> "InferenceSession":
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a package's folder, e.g. a study's promoted/, or its {MODEL}")
    try:
        import onnxruntime  # 0.2 s, which only predictions should pay
    except ImportError:
        raise InputError(f"{path}: predictions need onnxruntime; pip install onnxruntime") from None
    try:
        return onnxruntime.InferenceSession(str(path), session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load it ({reason}); copy the file again, or "
            "pip install --upgrade onnxruntime"
        ) from None


def _check_graph(session: "InferenceSession", about: About, path: Path) -> None:
    """Check that the graph's inputs and outputs are as `About` says."""
    spec, num = about.input_spec, len(about.labels)
    inputs = {one.name: tuple(one.shape[1:]) for one in session.get_inputs()}
    outputs = {one.name: one.shape for one in session.get_outputs()}
    wanted = {"pixels": spec.shape} | ({"auxiliary": (len(spec.auxiliary),)} if spec.auxiliary else {})
    if inputs != wanted or not {"logits", "probabilities"} <= outputs.keys():
        raise InputError(f"{path}: its inputs are {inputs}, but its description says {wanted}; package the model again")
    if outputs["probabilities"][-1] != num:
        raise InputError(
            f"{path}: {outputs['probabilities'][-1]} outputs for {num} labels ({', '.join(about.labels)}); package the "
            "model again"
        )
