"""The one training loop: a generator that yields a report after each epoch."""

import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from xlite.device import keep_freed_memory
from xlite.errors import InputError, TrainingFailed
from xlite.metrics.multilabel import Evaluation
from xlite.models.artifact import state_copy
from xlite.train.batch_loader import Batch, BatchLoader, RunAhead
from xlite.train.inference import predict_logits
from xlite.train.run import TrainingRun
from xlite.train.schedule import best_epoch, learning_rate, stop_reason
from xlite.train.step import (
    CHECK_EVERY,
    GraphStep,
    Learner,
    RecordingFailed,
    StepOutput,
    check_finite,
)


@dataclass(frozen=True)
class TrainState:
    """What the next epoch of a run depends on, beside the run itself.

    Attributes:
        history: the validation metric of each finished epoch.
        tensors: `Learner.tensors` after the last of them.
    """

    history: tuple[float, ...]
    tensors: Mapping[str, Tensor]

    @property
    def num_bytes(self) -> int:
        """What the tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class EpochReport:
    """The result of one epoch.

    Attributes:
        epoch: 1-based.
        train: mean of each term of the loss over the epoch, and the task's metric on the batches as they were trained.
        val: metrics on the whole validation part.
        val_loss: the supervised loss there, without distillation.
        value: the task's metric on validation; best_value and best_epoch are its best so far.
        best_state: a copy of the weights when this epoch is the best so far, else None.
        progress: returns the state to resume from; call it before the next epoch is requested.
        seconds: "data": waiting for the loader, while a GPU may still be at work on the last `MAX_STEPS_AHEAD` steps;
            "step": the rest of training, waiting for the GPU among it; "evaluation".
        images_per_s: training images over data and step seconds.
        stop: "" while training continues, else "budget" or "early stopping".
        why_plain: why steps that were to be recorded are not; "" where they are, or were not to be.
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
    progress: Callable[[], TrainState]
    seconds: dict[str, float]
    images_per_s: float
    stop: str
    why_plain: str = ""


def fit(run: TrainingRun, *, start: TrainState | None = None) -> Iterator[EpochReport]:
    """Train; on a CPU the same run with the same number of threads gives the same reports to the bit.

    Randomness is a function of (seed, epoch), and the schedule a function of progress and history, so that a run which
    is resumed after any epoch continues as if it had never stopped.

    Args:
        start: resume from this state; the first report is of the next epoch.

    Raises:
        InputError: the configuration distils and there is no bank.
        TrainingFailed: the loss or its gradient is not finite; such a step is never taken.
        RecordingFailed: another process must go on, with plain steps.
    """
    config, metric = run.config, run.task.metric
    if config.distill.needs_teacher and run.bank is None:
        raise InputError(
            f"distill.alpha={config.distill.alpha} needs a teacher; give one with --teacher or set alpha=0"
        )
    torch.set_num_threads(config.train.threads)
    keep_freed_memory()
    trainer = _Trainer(run)
    history: list[float] = []
    if start is not None:
        trainer.learner.restore(start.tensors)
        history.extend(start.history)
    for epoch in range(len(history), config.train.epochs):
        trained = trainer.train_epoch(epoch, history)
        started = time.perf_counter()
        val, val_loss = trainer.validate(best_before=max(history, default=-math.inf))
        history.append(float(val.scalars.get(metric, math.nan)))
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
            best_state=state_copy(trainer.learner.model) if best == epoch + 1 else None,
            progress=partial(_state, history, weakref.ref(trainer.learner)),
            seconds=seconds,
            images_per_s=trained.num_images / (seconds["data"] + seconds["step"]),
            stop=stop,
            why_plain=trainer.why_plain,
        )
        if stop:
            return


def _state(history: Sequence[float], learner: "weakref.ref[Learner]") -> TrainState:
    """The state of a run that is under way; its reports, which may be kept, do not keep the learner's memory."""
    living = learner()
    assert living is not None, "the run has ended"
    return TrainState(tuple(history), living.tensors())


@dataclass(frozen=True)
class _TrainedEpoch:
    means: dict[str, float]
    learning_rate: float
    seconds: dict[str, float]
    num_images: int


class _Trainer:
    """Feeds the batches of a run to its learner."""

    def __init__(self, run: TrainingRun) -> None:
        self.config, self.task, self.dataset, self.device = run.config, run.task, run.dataset, run.device
        self.loader = BatchLoader(run)
        self.learner = Learner(run)
        self.recorded: GraphStep | None = None
        self.why_plain = ""
        self.run_ahead = RunAhead() if self.device.on_gpu else None

    def train_epoch(self, epoch: int, history: Sequence[float]) -> _TrainedEpoch:
        """One pass over the training part; dropout's randomness is a function of (seed, epoch) alone."""
        plan, optim = self.loader.plan(epoch), self.config.optim
        budget = {"steps_per_epoch": len(plan), "num_epochs": self.config.train.epochs}
        rate_of = partial(learning_rate, optim, epoch=epoch, history=history, **budget)
        if epoch == optim.freeze_epochs:
            self.recorded = None  # from here on the backbone is trained; its memory is for the next recording
        seconds = {"data": 0.0, "step": 0.0}
        stepped: list[StepOutput] = []
        self.learner.prepare(frozen=epoch < optim.freeze_epochs, rate=rate_of(step=0))
        devices = [self.device.torch_device] if self.device.on_gpu else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(np.random.SeedSequence([self.config.train.seed, epoch]).generate_state(1)[0]))
            started = time.perf_counter()
            for step, batch in enumerate(self.loader.batches(plan)):
                loaded = time.perf_counter()
                rate = rate_of(step=step)
                self.learner.set_rate(rate)
                stepped.append(self.stepper(batch).step(batch))
                last = step + 1 == len(plan)
                if last or not self.device.on_gpu or (step + 1) % CHECK_EVERY == 0:
                    since = step - (step % CHECK_EVERY if self.device.on_gpu else 0)
                    check_finite(stepped[since:], epoch=epoch + 1, first_step=since + 1, rate=rate)
                if self.run_ahead is not None:
                    self.run_ahead.after_step()
                seconds["data"] += loaded - started
                started = time.perf_counter()
                seconds["step"] += started - loaded
        logits = torch.cat([done.logits for done in stepped]).cpu().numpy()
        terms = torch.stack([done.terms for done in stepped]).double().mean(dim=0).tolist()
        means = dict(zip(self.learner.term_names, terms, strict=True))
        target_spec, targets = self.task.target_spec, self.loader.targets[np.concatenate([d.positions for d in plan])]
        score = target_spec.resampled_score(target_spec.probabilities(logits), targets)  # the others take longer
        means[self.task.metric] = float(score(np.ones(len(targets))))
        return _TrainedEpoch(means, rate, seconds, sum(len(draw.positions) for draw in plan))

    def stepper(self, example: Batch) -> Learner | GraphStep:
        """What takes the next step, recorded where it is to be and can be; `example` has the size of all batches."""
        if self.recorded is None and not self.why_plain and self.config.train.is_recorded(on_gpu=self.device.on_gpu):
            try:
                self.recorded = GraphStep(self.learner, example)
            except RecordingFailed as failure:
                if not failure.process_is_fit:
                    raise
                self.why_plain = str(failure)
        return self.recorded or self.learner

    def validate(self, *, best_before: float) -> tuple[Evaluation, float]:
        """Metrics and supervised loss on the validation part; in a new best epoch also at cross-fitted thresholds."""
        val = self.dataset.part("val")
        trained_at = math.ceil(self.config.optim.batch_size / self.config.train.micro_batches)
        logits = predict_logits(self.learner.model, self.dataset, val, device=self.device, trained_at=trained_at)
        targets = self.dataset.targets[val]
        if not np.isfinite(logits).all():
            raise TrainingFailed("the model's validation logits are not finite")
        loss = self.learner.objective.supervised(self.device.put(logits), self.device.put(targets))
        target_spec, labels = self.task.target_spec, self.dataset.labels
        answers = target_spec.probabilities(logits)
        evaluation = target_spec.judge(answers, targets, labels)
        if evaluation.scalars.get(self.task.metric, math.nan) > best_before:
            evaluation = target_spec.cross_fit(evaluation, answers, targets, labels, groups=self.dataset.groups[val])
        return evaluation, float(loss)
