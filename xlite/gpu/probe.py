"""Measures the memory and time per step of training a configuration, in a separate process.

The process (`xlite.gpu.probe_worker`) trains on synthetic examples of the data's shape, with the allocator and CUDA
context of a training process; running out of memory there is harmless. Results are cached on disk.

Probes run one after the other, before anything else trains: a second process on the GPU, be it another probe or the
teacher's training, would lengthen the steps that are timed and change the memory in use, from which the size of a CUDA
context is told.
"""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import timm
import torch

from xlite.config import RunConfig
from xlite.console import ProgressCallback
from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device, choose_device
from xlite.errors import InputError
from xlite.models.cost import architecture
from xlite.storage.files import fingerprint, read_json, write_json
from xlite.tasks import find_task
from xlite.tasks.task import Task
from xlite.train.inference import evaluation_batches

TYPICAL_CONTEXT_BYTES = 600 * 2**20
"""Assumed where it cannot be measured: a context with the cuDNN and cuBLAS kernels that training loads."""
FORMAT = 3
"""Of the cached footprints; those of another format are measured again. Since 2 gradients are in one tensor, since 3
validation has the batches of a trial's."""
LIMIT_S = 300.0
"""Time limit of a probe."""
_VAL_BATCHES = 3  # as many as are on the device at once when the next is fetched during one


@dataclass(frozen=True)
class Footprint:
    """One configuration on one device.

    Attributes:
        peak_bytes: the most that PyTorch's allocator reserved; on a CPU the process's largest resident set.
        context_bytes: GPU memory of the process beyond that: CUDA context, kernels, libraries; 0 on a CPU.
        step_s: seconds per optimiser step on an otherwise idle device; for an estimate of a search's time.
        fits: False if memory ran out; `peak_bytes` is then what had been reserved before.
    """

    peak_bytes: int
    context_bytes: int
    step_s: float
    fits: bool = True


@dataclass(frozen=True)
class Shapes:
    """The properties of the data that memory and time depend on.

    Attributes:
        task: name or module:NAME; kind: of its targets.
        input_spec: of its examples.
        targets: shape of one example's targets.
        num_val: examples of a few validation batches; more would take no more memory.
    """

    task: str
    kind: str
    input_spec: InputSpec
    targets: tuple[int, ...]
    num_val: int

    @classmethod
    def of(cls, dataset: Dataset, task: str, kind: str, device: Device) -> "Shapes":
        """The shapes of a data set on a device."""
        spec, num_val = dataset.input_spec, len(dataset.part("val"))
        largest = max(batch.stop - batch.start for batch in evaluation_batches(num_val, spec, device))
        return cls(task, kind, spec, dataset.targets.shape[1:], min(num_val, _VAL_BATCHES * largest))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Shapes":
        """The inverse of `dataclasses.asdict`, also through JSON."""
        spec, targets = InputSpec.from_json(values["input_spec"]), tuple(values["targets"])
        return cls(**{**values, "input_spec": spec, "targets": targets})

    def identity(self) -> dict[str, Any]:
        """JSON values, for a footprint's key."""
        spec = self.input_spec
        return {
            "task": self.task,
            "kind": self.kind,
            "pixels": list(spec.shape),
            "dtype": np.dtype(spec.dtype).name,
            "targets": list(self.targets),
            "auxiliary": list(spec.auxiliary_max) or None,
            "num_val": self.num_val,
        }

    def resolved_task(self) -> Task:
        """The task with its kind of targets resolved."""
        return find_task(self.task).resolve_targets(self.kind)

    def make(self, folder: Path, num_train: int) -> Dataset:
        """Synthetic examples of these shapes; their pixel file is in `folder`."""
        num = num_train + self.num_val
        distinct = min(num, 16)
        generator, spec = np.random.default_rng(0), self.input_spec
        np.save(folder / "pixels.npy", generator.integers(0, 255, (distinct, *spec.shape)).astype(spec.dtype))
        highest = np.array(spec.auxiliary_max)
        return Dataset(
            folder / "pixels.npy",
            "probe",
            np.arange(num) % distinct,
            np.arange(num).astype(str),
            np.arange(num).astype(str),
            self.resolved_task().target_spec.made_up(num, self.targets).astype(np.float32),
            tuple(f"label{number}" for number in range(self.targets[-1])),
            {"train": np.arange(num_train), "val": np.arange(num_train, num), "test": np.arange(0)},
            "probe",
            spec,
            auxiliary=np.arange(num)[:, None] % (highest + 1) if len(highest) else None,
        )


def probe_config(config: RunConfig) -> RunConfig:
    """`config` reduced to what determines a step's memory and time: two epochs without teacher or augmentation."""
    model = {f"model.{field}": value for field, value in architecture(config.model).model_dump().items()}
    return config.override(
        {
            **model,
            **{"data.augmentation": "none", "data.sampler": "none", "distill.alpha": 0.0},
            **{"optim.learning_rate": 1e-4, "optim.schedule": "constant", "optim.warmup_epochs": 0},
            **{"optim.freeze_epochs": 0, "train.epochs": 2, "train.patience": 2, "train.seed": 0},
        },
        source="probe",
    )


def footprint_key(config: RunConfig, shapes: Shapes, device: Device) -> str:
    """Hash, 16 hex digits, of everything a footprint depends on; configurations with the same key share a probe."""
    return fingerprint(_identity(config, shapes, device))


def _identity(config: RunConfig, shapes: Shapes, device: Device) -> dict[str, Any]:
    probed = probe_config(config)
    return {
        "format": FORMAT,
        "model": probed.model.model_dump(),
        "batch_size": probed.optim.batch_size,
        "train": probed.train.model_dump(exclude={"precision"}),
        "precision": str(choose_device(config.train.precision, kind=device.torch_device.type).autocast_dtype),
        "shapes": shapes.identity(),
        "device": device.name,
        "total_bytes": torch.cuda.get_device_properties(device.torch_device).total_memory if device.on_gpu else 0,
        "versions": [torch.__version__, timm.__version__],
    }


def probe_all(
    configs: Sequence[RunConfig],
    shapes: Shapes,
    device: Device,
    *,
    folder: Path,
    limit_s: float = LIMIT_S,
    progress: ProgressCallback | None = None,
) -> dict[str, Footprint | str]:
    """Footprints by `footprint_key`, cached or measured now; for a probe that failed, the reason.

    Of configurations that differ in the batch size alone the smallest and the largest are measured; what lies between
    is interpolated, or measured where one of these two failed or did not fit. One worker process measures all in turn;
    if it dies or hangs, the next probe gets a new one.

    Args:
        folder: the cache; unreadable files are measured again. Neither failures nor running out of memory are cached:
            another process may have held the memory.
        limit_s: time limit of each probe.
        progress: told of each configuration.
    """
    found: dict[str, Footprint | str] = {}
    with _Worker(device) as worker:

        def obtain(key: str, config: RunConfig) -> Footprint | str:
            path, identity = folder / f"{key}.json", _identity(config, shapes, device)
            footprint: Footprint | str | None = _cached(path, identity)
            if footprint is None:
                footprint = worker.measure(config, shapes, limit_s)
                if isinstance(footprint, Footprint) and footprint.fits:
                    folder.mkdir(parents=True, exist_ok=True)
                    write_json(path, {"of": identity, "footprint": asdict(footprint)})
            return footprint

        families = _families(configs, shapes, device)
        for family in families:
            ends = {size: obtain(*family[size]) for size in sorted({min(family), max(family)})}
            for size, (key, config) in family.items():
                found[key] = ends.get(size) or interpolated(ends, size) or obtain(key, config)
                if progress:
                    progress(len(found), sum(map(len, families)))
    return found


def _families(configs: Sequence[RunConfig], shapes: Shapes, device: Device) -> list[dict[int, tuple[str, RunConfig]]]:
    """By batch size, configurations that differ in it alone among what their footprints depend on, and their keys."""
    families: dict[str, dict[int, tuple[str, RunConfig]]] = {}
    for config in configs:
        identity = _identity(config, shapes, device)
        alike = fingerprint({**identity, "batch_size": None})
        families.setdefault(alike, {})[config.optim.batch_size] = (fingerprint(identity), config)
    return list(families.values())


def interpolated(ends: Mapping[int, Footprint | str], size: int) -> Footprint | None:
    """The footprint of a batch between two, on the line between theirs and not below the smaller one's.

    Memory beyond the model's own grows in proportion to the batch. So does a step's time at most: it is no less than
    the time to start its kernels, which is the same for all sizes.

    Args:
        ends: what was found, by batch size.

    Returns:
        None where one of them failed or did not fit.
    """
    low, high = ends[min(ends)], ends[max(ends)]
    if not (isinstance(low, Footprint) and isinstance(high, Footprint) and low.fits and high.fits):
        return None
    part = (size - min(ends)) / (max(ends) - min(ends))
    peak_bytes = low.peak_bytes + part * max(0, high.peak_bytes - low.peak_bytes)
    step_s = low.step_s + part * max(0.0, high.step_s - low.step_s)
    return Footprint(math.ceil(peak_bytes), max(low.context_bytes, high.context_bytes), step_s)


def _cached(path: Path, identity: Mapping[str, Any]) -> Footprint | None:
    """The footprint an earlier study measured; None if there is none or the file is not plausible."""
    try:
        stored = read_json(path)
        footprint = Footprint(**stored["footprint"])
        plausible = stored["of"] == identity and footprint.peak_bytes > 0 and footprint.step_s > 0
    except (InputError, OSError, KeyError, TypeError):
        return None
    return footprint if plausible else None


class _Worker:
    """The probing process, started on demand and again after it died; requests and answers are lines of JSON."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def measure(self, config: RunConfig, shapes: Shapes, limit_s: float) -> Footprint | str:
        """The footprint, or why it could not be measured."""
        process = self.process = self.process or self.start()
        request = {
            "config": probe_config(config).model_dump(),
            "shapes": asdict(shapes),
            "device": self.device.torch_device.type,
        }
        watchdog = threading.Timer(limit_s, process.kill)
        watchdog.start()
        try:
            answer = _ask(process, json.dumps(request))
        finally:
            watchdog.cancel()
        if answer is None:
            self.end()
            if process.returncode == -9:
                return f"the probe was killed: it took longer than {limit_s:g} s, or the machine's memory ran out"
            return f"the probe's process ended with code {process.returncode}"
        values = json.loads(answer)
        if "error" not in values:
            return Footprint(**values)
        if values["lost"]:
            self.end()
        return str(values["error"])

    def start(self) -> "subprocess.Popen[str]":
        """A new process with this one's import path, which may have a user's own task on it."""
        paths = os.pathsep.join(path for path in sys.path if path)
        return subprocess.Popen(
            [sys.executable, "-m", "xlite.gpu.probe_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def end(self) -> None:
        """Close the process's input, which ends it, and kill it if it does not end."""
        if self.process is None:
            return
        pipes: list[IO[str] | None] = [self.process.stdin, self.process.stdout]
        for pipe in pipes:
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def _ask(process: "subprocess.Popen[str]", request: str) -> str | None:
    """The answer to one line; None if the process ended instead."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    return process.stdout.readline() or None
