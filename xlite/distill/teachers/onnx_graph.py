"""An ONNX file as onnxruntime runs it, and what becomes of pixels before it and of its outputs after it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xlite.device import Device
from xlite.distill.teachers.values import Answers
from xlite.errors import InputError
from xlite.storage.files import read_json_object

_TYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Preparation(BaseModel):
    """What an ONNX teacher's input and output are; the keys of its metadata or JSON.

    Attributes:
        labels: of its outputs in order, "" for one that is not used.
        output: what its outputs are.
        scale: what pixels of 0 to 255 become: 1 (0 to 1), 255 (as they are), or [low, high].
        mean, std: of the scaled pixels, one or one for each channel: (pixel - mean) / std.
        image_size, channels: where the graph leaves them open.
        layout: of its input.
        output_name: of the graph's output, where it has several.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1)
    output: Answers
    scale: Literal[1, 255] | tuple[float, float]
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    image_size: int | None = Field(default=None, gt=0)
    channels: Literal[1, 3] | None = None
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    output_name: str | None = None


@dataclass(frozen=True)
class Graph:
    """An opened ONNX file.

    Attributes:
        session: onnxruntime's.
        input_name, dtype: of its one input.
        shape: (image_size, channels) of an input.
        batch_size: a number of images that the graph takes at once; None: any.
        preparation: what becomes of pixels and outputs.
    """

    session: Any
    input_name: str
    dtype: type[np.floating]
    shape: tuple[int, int]
    batch_size: int | None
    preparation: Preparation

    def run(self, images: np.ndarray) -> np.ndarray:
        """(B, K) raw outputs for prepared images (B, C, S, S), in the graph's own batches, the last one filled up."""
        images = images if self.preparation.layout == "NCHW" else images.transpose(0, 2, 3, 1)
        size, wanted = self.batch_size or len(images), self.preparation.output_name
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            feed = {self.input_name: np.ascontiguousarray(filled, dtype=self.dtype)}
            parts.append(self.session.run([wanted] if wanted else None, feed)[0][: len(part)])
        return np.concatenate(parts)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """uint8 (B, S, S) or (B, C, S, S), already of this size, as (B, C, S, S) float32 in its range."""
        planes = images[:, None] if images.ndim == 3 else images
        scaled = planes.astype(np.float32)
        channels = self.shape[1]
        if scaled.shape[1] != channels:  # a grey image for a colour model, or the other way
            grey = scaled if scaled.shape[1] == 1 else np.tensordot(scaled, _LUMA, ([1], [0]))[:, None]
            scaled = grey.repeat(channels, axis=1)
        scale = self.preparation.scale
        low, high = scale if isinstance(scale, tuple) else (0.0, float(scale))
        scaled = scaled * ((high - low) / 255) + low
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (self.preparation.mean, self.preparation.std))
        return (scaled - mean) / std


def open_graph(file: Path, device: Device) -> Graph:
    """Open an ONNX file and run it once, on a grey batch.

    Raises:
        InputError: onnxruntime is not installed, the file cannot be run, or its labels are not those of its outputs.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{file}: needs onnxruntime, which is not installed: pip install onnxruntime") from None
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is in the exception
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider") if device.on_gpu else ("CPUExecutionProvider",)
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # classes of its own, all below Exception
        raise InputError(f"{file}: onnxruntime cannot run it ({_line(error)})") from None
    graph = _graph(file, session, _preparation(file, session))
    num_images = graph.batch_size or 2
    size, channels = graph.shape
    try:
        out = graph.run(graph.prepare(np.full((num_images, channels, size, size), 128, dtype=np.uint8)))
    except Exception as error:
        raise InputError(
            f"{file}: onnxruntime cannot run it on {channels} x {size} x {size} ({_line(error)})"
        ) from None
    expected = (num_images, len(graph.preparation.labels))
    if out.shape != expected:
        raise InputError(
            f"{file}: {num_images} images give outputs of shape {out.shape}, its {expected[1]} labels make it "
            f"{expected}; correct `labels`, or name the right output as `output_name`"
        )
    return graph


def _preparation(file: Path, session: Any) -> Preparation:
    """From the metadata, over which a JSON beside the file has precedence."""
    beside = file.with_suffix(".json")
    stored = session.get_modelmeta().custom_metadata_map
    values = {key: _parsed(text) for key, text in stored.items() if key in Preparation.model_fields}
    if isinstance(values.get("labels"), str):
        values["labels"] = [label.strip() for label in str(values["labels"]).split(",")]
    if beside.exists():
        values |= read_json_object(beside)
    where = str(beside) if beside.exists() else f"{file}: its metadata (or a JSON beside it, {beside.name})"
    try:
        return Preparation.model_validate(values)
    except ValidationError as error:
        problems = dict.fromkeys(f"`{problem['loc'][0]}`: {problem['msg']}" for problem in error.errors())
        raise InputError(f"{where}: {'; '.join(problems)}; see docs/teachers.md") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _graph(file: Path, session: Any, preparation: Preparation) -> Graph:
    """The session with its input's meaning.

    Raises:
        InputError: it does not take one batch of square images.
    """
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        found = ", ".join(f"{one.name} {one.type} of rank {len(one.shape)}" for one in inputs)
        raise InputError(f"{file}: its inputs are {found}; a teacher takes one batch of images, float of rank 4")
    if preparation.output_name is None and len(outputs) != 1:
        raise InputError(f"{file}: it has the outputs {', '.join(outputs)}; name one as `output_name`")
    if preparation.output_name not in (None, *outputs):
        raise InputError(f"{file}: it has no output {preparation.output_name}; it has {', '.join(outputs)}")
    fixed = [axis if isinstance(axis, int) else None for axis in inputs[0].shape]
    batch, *axes = fixed
    channels, height, width = axes if preparation.layout == "NCHW" else (axes[2], *axes[:2])
    size = preparation.image_size or height
    channels = preparation.channels or channels
    if size is None or {height, width} - {size, None}:
        raise InputError(f"{file}: its input is {height} x {width}; name one side that fits as `image_size`")
    if channels not in (1, 3) or (axes[0] if preparation.layout == "NCHW" else axes[2]) not in (channels, None):
        raise InputError(f"{file}: name the channels that its input has, 1 or 3, as `channels`")
    for name, value in (("mean", preparation.mean), ("std", preparation.std)):
        if isinstance(value, tuple) and len(value) not in (1, channels):
            raise InputError(f"{file}: `{name}` has {len(value)} values, its input {channels} channel(s)")
    return Graph(session, inputs[0].name, _TYPES[inputs[0].type], (size, channels), batch, preparation)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
