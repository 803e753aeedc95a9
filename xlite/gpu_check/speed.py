"""Steps on speed: images/s of students and teacher in every way, what settings gain, and a whole epoch."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xlite.data.dataset import Dataset
from xlite.device import Device, choose_device, is_out_of_memory, release_memory
from xlite.gpu_check.material import NIH_TRAIN, STUDENTS, TEACHER, TOY, batches, images, run_of, synchronise
from xlite.gpu_check.place import PassedOver, Place
from xlite.models.build import build_model
from xlite.train.batch_loader import BatchLoader
from xlite.train.inference import predict_logits
from xlite.train.loop import EpochReport, fit
from xlite.train.run import TrainingRun
from xlite.train.step import GraphStep, Learner

LARGEST = "convnext_tiny"
FLOOR_GOAL, FEED_GOAL, EPOCH_GOAL_S, SCALING_GOAL = 0.95, 8000.0, 35.0, 0.15
_CHUNK = 20  # steps between two looks at the clock, each of which waits for the device


def speed(place: Place) -> str:
    """Each student and the teacher, at two batch sizes; the floor is the recorded step on one resident batch."""
    device, dataset = choose_device(kind=place.device), _large_images(place)
    lowest: dict[str, float] = {}
    for batch_size in place.pick((32, 256), (8,)):
        for backbone in place.pick((*STUDENTS, TEACHER), (TOY,)):
            name = f"{backbone}, batch {batch_size}"
            try:
                lowest[name] = _speeds(place, name, _part(place, dataset, backbone, batch_size, device))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                place.number(name, "does not fit this card")
            release_memory()
    worst = min(lowest, key=lambda name: lowest[name])
    return f"recorded, end to end, at least {lowest[worst]:.2f} of its floor ({worst})"


def _large_images(place: Place) -> Dataset:
    num_train = place.pick(NIH_TRAIN, 64)
    return images(place.folder, px=place.pick(224, 32), num_train=num_train, num_val=64, distinct=place.pick(4096, 64))


def _part(place: Place, dataset: Dataset, backbone: str, batch_size: int, device: Device) -> TrainingRun:
    """A run with epochs of a second or so: 40 batches at least of what is fast, so that starting one is little."""
    small = backbone.startswith("mobilenet") and batch_size > 32
    num = place.pick(40 * batch_size if small else 4096, 32)
    own = dataset.with_train(dataset.part("train")[:num])
    return run_of(own, device, model__backbone=backbone, optim__batch_size=batch_size, train__epochs=2)


def _speeds(place: Place, name: str, run: TrainingRun) -> float:
    """Images/s of every way; returns the recorded step's end to end over its floor."""
    seconds = place.pick(0.4, 0.05)
    learner, batch = Learner(run), batches(run, 1)[0]
    learner.prepare(frozen=False, rate=1e-4)
    plain = _images_per_s(learner.step, batch, run, seconds)
    graph = GraphStep(learner, batch)
    floor = max(_images_per_s(graph.step, batch, run, seconds) for _ in range(2))
    del learner, graph, batch
    release_memory()
    told = {"resident, plain": plain}
    for step in ("graph", "plain") if run.config.optim.batch_size <= 32 else ("graph",):
        told[f"end to end, {'recorded' if step == 'graph' else step}"] = _last_epoch(run, step).images_per_s
        release_memory()
    place.number(f"{name}: resident, recorded (the floor), images/s", floor)
    for way, images_per_s in told.items():
        place.number(f"{name}: {way}, images/s", images_per_s)
        goal = FLOOR_GOAL if place.on_gpu and way == "end to end, recorded" else None
        place.number(f"{name}: {way}, over the floor", images_per_s / floor, at_least=goal)
    recorded = told["end to end, recorded"]
    if name.startswith(LARGEST):
        place.number(f"{name}: epoch of {NIH_TRAIN:,} images, scaled, s", NIH_TRAIN / recorded, at_most=EPOCH_GOAL_S)
    return recorded / floor


def _last_epoch(run: TrainingRun, step: str) -> EpochReport:
    """The last epoch of the loop; the first, in which kernels are loaded and the step is recorded, does not count."""
    config = run.config.override({"train.step": step}, source="check")
    *_, last = fit(replace(run, config=config))
    return last


def _images_per_s(step: Callable[[Any], object], batch: Any, run: TrainingRun, seconds: float) -> float:
    """Of steps on one batch, for about so long."""
    for _ in range(3):
        step(batch)
    synchronise(run.device)
    started, num = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < seconds:
        for _ in range(_CHUNK if run.device.on_gpu else 1):
            step(batch)
            num += len(batch.targets)
        synchronise(run.device)
    return num / taken if taken else 0.0


def feed(place: Place) -> str:
    """Batches made and sent with nothing trained on them, and validation."""
    device, dataset = choose_device(kind=place.device), _large_images(place)
    for batch_size in place.pick((32, 256), (8,)):
        run = run_of(dataset, device, optim__batch_size=batch_size)
        loader, num = BatchLoader(run), place.pick(16_384, 64) // batch_size
        plan = loader.plan(0)[: num + 1]
        given = loader.batches(plan)
        next(given)
        started = time.perf_counter()
        num_images = sum(len(batch.targets) for batch in given)
        synchronise(device)
        fed = num_images / (time.perf_counter() - started)
        place.number(f"batches of {batch_size}, augmented, images/s", fed, at_least=place.pick(FEED_GOAL, None))
    positions = dataset.part("train")[: place.pick(8192, 32)]
    for backbone in place.pick(STUDENTS, (TOY,)):
        config = run_of(dataset, device, model__backbone=backbone).config.model
        model = device.move(build_model(config, num_labels=len(dataset.labels), seed=0))
        predict_logits(model, dataset, positions[:512], device=device)
        started = time.perf_counter()
        predict_logits(model, dataset, positions, device=device)
        place.number(f"evaluation of {backbone}, images/s", len(positions) / (time.perf_counter() - started))
    return f"{fed:,.0f} images/s from one process's loader"


class _Contiguous(Device):
    """A device whose models are not channels last."""

    def move(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to(self.torch_device)


def settings(place: Place) -> str:
    """The floor of two students under each setting, over that without it."""
    dataset = _large_images(place)
    device, exact = choose_device("auto", kind=place.device), choose_device("fp32", kind=place.device)
    plain_layout = _Contiguous(device.torch_device, device.autocast_dtype)
    ways = {
        "as it is": (device, {}),
        "cudnn.benchmark": (device, {"benchmark": True}),
        "not channels last": (plain_layout, {}),
        "float32": (exact, {}),
        "float32 with TF32": (exact, {"tf32": True}),
    }
    gains = []
    for backbone in ("efficientnet_b0", LARGEST):
        taken = {way: _floor(dataset, backbone, *options) for way, options in ways.items()}
        for way, base in (
            ("cudnn.benchmark", "as it is"),
            ("not channels last", "as it is"),
            ("float32 with TF32", "float32"),
        ):
            place.number(f"{backbone}: {base}, images/s", taken[base])
            place.number(f"{backbone}: {way}, over {base}", taken[way] / taken[base])
            gains.append(f"{backbone} {way} {taken[way] / taken[base]:.2f}x")
    return ", ".join(gains)


def _floor(dataset: Dataset, backbone: str, device: Device, flags: dict[str, bool]) -> float:
    """Images/s of the recorded step on a resident batch."""
    torch.backends.cudnn.benchmark = flags.get("benchmark", False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = flags.get("tf32", False)
    run = run_of(dataset, device, model__backbone=backbone, optim__batch_size=64)
    learner, batch = Learner(run), batches(run, 1)[0]
    learner.prepare(frozen=False, rate=1e-4)
    speed = _images_per_s(GraphStep(learner, batch).step, batch, run, 0.4)
    del learner
    release_memory()
    return speed


def epoch(place: Place) -> str:
    """A whole epoch of as many images as NIH's training part has, and what a short one would have it take."""
    device, dataset = choose_device(kind=place.device), _large_images(place)
    backbone, batch_size = place.pick((LARGEST, 64), (TOY, 8))
    whole = run_of(dataset, device, model__backbone=backbone, optim__batch_size=batch_size, train__epochs=1)
    short = dataset.with_train(dataset.part("train")[: place.pick(8192, 32)])
    config = whole.config.override({"train.epochs": 2}, source="check")
    scaled = (
        len(dataset.part("train")) / _last_epoch(replace(whole, dataset=short, config=config), "graph").images_per_s
    )
    release_memory()
    if np.isinf(scaled):
        raise PassedOver("the short epoch took no time")
    report = _last_epoch(whole, "graph")
    taken = report.seconds["data"] + report.seconds["step"]
    place.number("scaled from a short epoch, s", scaled)
    place.number(
        f"whole epoch of {len(dataset.part('train')):,} images, s", taken, at_most=place.pick(EPOCH_GOAL_S, None)
    )
    place.number("whole over scaled", taken / scaled, at_least=1 - SCALING_GOAL, at_most=1 + SCALING_GOAL)
    return f"{backbone}, batch {batch_size}: {taken:.1f} s, scaled {scaled:.1f} s"
