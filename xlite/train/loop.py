"""The one training loop: a generator that yields a report an epoch, whoever runs it."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xlite.config import RunConfig
from xlite.data.batches import Draw, ViewReader, draws
from xlite.data.dataset import Dataset
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.errors import InputError
from xlite.metrics import Evaluation
from xlite.models.artifact import state_copy
from xlite.models.build import build_model, call, check_input
from xlite.tasks.family import Objective
from xlite.tasks.task import Task
from xlite.train.inference import predict_logits
from xlite.train.schedule import best_epoch, learning_rate, stop_reason


class TrainingFailed(RuntimeError):
    """This configuration cannot be trained, e.g. its loss is no longer finite; the message is the reason."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: 1-based.
        train: mean of each part of the loss over the epoch, and the task's metric on the batches as they were trained.
        val: metrics on the whole validation part.
        val_loss: the supervised loss there, without distillation.
        value: the task's metric on validation; best_value and best_epoch are its best so far.
        best_state: a copy of the weights when this epoch is the best so far, else None.
        seconds: "data", "step", "evaluation".
        images_per_s: training images over data and step seconds.
        stop: "" while training goes on, else why it ended: "budget" or "early stopping".
    """

    epoch: int
    train: dict[str, float]
    val: Evaluation
    val_loss: float
    learning_rate: float
    value: float
    best_value: float
    best_epoch: int
    best_state: dict[str, Tensor] | None
    seconds: dict[str, float]
    images_per_s: float
    stop: str


def fit(
    config: RunConfig,
    task: Task,
    dataset: Dataset,
    *,
    device: Device,
    bank: Bank | None = None,
    num_views: int | None = None,
) -> Iterator[EpochReport]:
    """Train one configuration; the same configuration, data and thread count give the same reports to the bit on CPU.

    Args:
        bank: the teacher's logits for the training part; needed when `distill.alpha` is above 0.
        num_views: epoch e shows view e mod num_views; the bank's where there is one, default one for each epoch.

    Raises:
        InputError: the configuration distils and there is no bank.
        TrainingFailed: the loss or its gradient is not finite; raised before the optimiser uses it.
    """
    if config.distill.alpha > 0 and bank is None:
        raise InputError(
            f"distill.alpha={config.distill.alpha} needs a teacher; give one with --teacher or set alpha=0"
        )
    torch.set_num_threads(config.train.threads)
    run = _Run(config, task, dataset, device, bank, num_views)
    history: list[float] = []
    for epoch in range(config.train.epochs):
        trained = run.train_epoch(epoch, history)
        started = time.perf_counter()
        val, val_loss = run.validate()
        history.append(val.scalars[task.metric])
        best = best_epoch(history)
        seconds = {**trained.seconds, "evaluation": time.perf_counter() - started}
        stop = stop_reason(history, num_epochs=config.train.epochs, patience=config.train.patience)
        yield EpochReport(
            epoch=epoch + 1,
            train=trained.means,
            val=val,
            val_loss=val_loss,
            learning_rate=trained.learning_rate,
            value=history[-1],
            best_value=history[best - 1],
            best_epoch=best,
            best_state=state_copy(run.model) if best == epoch + 1 else None,
            seconds=seconds,
            images_per_s=trained.num_images / (seconds["data"] + seconds["step"]),
            stop=stop,
        )
        if stop:
            return


@dataclass(frozen=True)
class _TrainedEpoch:
    means: dict[str, float]
    learning_rate: float
    seconds: dict[str, float]
    num_images: int


class _Run:
    """The moving parts of one training run: model, optimiser, data."""

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        dataset: Dataset,
        device: Device,
        bank: Bank | None,
        num_views: int | None = None,
    ) -> None:
        self.num_views = bank.num_views if bank else num_views or config.train.epochs
        self.config, self.task, self.dataset, self.device, self.bank = config, task, dataset, device, bank
        train = dataset.part("train")
        self.targets = dataset.targets[train]
        self.extras = dataset.extras_of(train)
        self.views = ViewReader(
            dataset.open_pixels(), dataset.rows[train], config.data.augmentation, config.train.seed, task.augment
        )
        self.weights = task.family.sample_weights(self.targets, config.data.sampler)
        self.model = new_model(config, task, dataset, device)
        self.objective: Objective = task.family.make_objective(config, self.targets)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, config.optim.weight_decay), lr=config.optim.learning_rate, fused=True
        )

    def train_epoch(self, epoch: int, history: Sequence[float]) -> _TrainedEpoch:
        """One pass over the training part; dropout's randomness is a function of (seed, epoch) alone."""
        optim, seed = self.config.optim, self.config.train.seed
        sums: dict[str, float] = defaultdict(float)
        seconds = {"data": 0.0, "step": 0.0}
        scored: list[tuple[np.ndarray, np.ndarray]] = []
        plan = list(
            draws(
                len(self.targets),
                epoch=epoch,
                batch_size=optim.batch_size,
                num_views=self.num_views,
                seed=seed,
                weights=self.weights,
            )
        )
        rate = optim.learning_rate
        self.model.train()
        self.freeze(epoch < optim.freeze_epochs)
        devices = [self.device.place] if self.device.on_gpu else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            for step, draw in enumerate(plan):
                started = time.perf_counter()
                batch = self.load(draw)
                loaded = time.perf_counter()
                rate = learning_rate(
                    optim,
                    epoch=epoch,
                    step=step,
                    steps_per_epoch=len(plan),
                    num_epochs=self.config.train.epochs,
                    history=history,
                )
                parts, logits = self.step(batch, rate, f"epoch {epoch + 1}, step {step + 1}")
                for name, value in parts.items():
                    sums[name] += value
                scored.append((logits, self.targets[draw.positions]))
                seconds["data"] += loaded - started
                seconds["step"] += time.perf_counter() - loaded
        means = {name: total / len(plan) for name, total in sums.items()}
        means[self.task.metric] = self.score(scored)
        return _TrainedEpoch(means, rate, seconds, sum(len(draw.positions) for draw in plan))

    def freeze(self, frozen: bool) -> None:
        """Hold the backbone's weights and running statistics still, or let them go again."""
        backbone = getattr(self.model, "backbone", None)
        if backbone is not None and self.config.optim.freeze_epochs:
            backbone.requires_grad_(not frozen)
            backbone.train(not frozen)

    def load(self, draw: Draw) -> "_Batch":
        """One batch on the device."""
        teacher_logits = None
        pixels = None
        if self.bank is not None:
            pixels, teacher = self.bank.read(draw.positions, draw.views)
            teacher_logits = self.device.put(teacher)
        if pixels is None:
            pixels = self.views.read(draw.positions, draw.views)
        extras = None if self.extras is None else self.extras[draw.positions]
        images, beside = self.device.example(pixels, extras)
        return _Batch(images, beside, self.device.put(self.targets[draw.positions]), teacher_logits)

    def step(self, batch: "_Batch", rate: float, where: str) -> tuple[dict[str, float], np.ndarray]:
        """One optimiser step; returns the parts of the loss and the logits."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.device.autocast():
            logits = call(self.model, batch.images, batch.extras)
        parts = self.objective(logits.float(), batch.targets, batch.teacher_logits)
        values = {name: float(value.detach()) for name, value in parts.items()}
        if not math.isfinite(values["loss"]):
            raise TrainingFailed(f"the loss is {values['loss']} at {where} (learning rate {rate:.2g})")
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm))
        if not math.isfinite(norm):
            raise TrainingFailed(f"the gradient's norm is {norm} at {where} (learning rate {rate:.2g})")
        self.optimizer.step()
        return values, logits.detach().float().cpu().numpy()

    def score(self, scored: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        """The task's metric over what the epoch's batches predicted; NaN where it cannot be formed."""
        logits, targets = (np.concatenate(arrays) for arrays in zip(*scored, strict=True))
        try:
            return self.judge(logits, targets).scalars[self.task.metric]
        except InputError:
            return math.nan

    def validate(self) -> tuple[Evaluation, float]:
        """Metrics and supervised loss on the validation part."""
        val = self.dataset.part("val")
        logits = predict_logits(self.model, self.dataset, val, device=self.device)
        targets = self.dataset.targets[val]
        if not np.isfinite(logits).all():
            raise TrainingFailed("the model's validation logits are not finite")
        loss = self.objective.supervised(self.device.put(logits), self.device.put(targets))
        return self.judge(logits, targets), float(loss)

    def judge(self, logits: np.ndarray, targets: np.ndarray) -> Evaluation:
        """The family's metrics of logits (N, ..., L)."""
        family = self.task.family
        return family.evaluate(family.probabilities(logits), targets, self.dataset.labels)


@dataclass(frozen=True)
class _Batch:
    """images, extras as models take them; targets (B, ..., L); teacher_logits of that shape, or None."""

    images: Tensor
    extras: Tensor | None
    targets: Tensor
    teacher_logits: Tensor | None


def new_model(config: RunConfig, task: Task, dataset: Dataset, device: Device) -> nn.Module:
    """The untrained model of a configuration, on the device."""
    check_input(config.model, dataset.open_pixels().shape[1:])
    model = build_model(
        config.model,
        num_labels=len(dataset.labels),
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
        bias=task.family.initial_bias(dataset.targets[dataset.part("train")]),
        seed=config.train.seed,
    )
    return device.move(model)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only: biases and norms would be pulled to zero for nothing."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
