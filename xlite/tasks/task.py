"""What a task is: a value that names its parts. Nothing outside `tasks/` asks which task it has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor, nn

from xlite.config import ModelConfig, RunConfig
from xlite.console import ProgressCallback
from xlite.data.sources import Reading
from xlite.metrics import Evaluation, Metric

TargetKind = Literal["multilabel", "multiclass", "ordinal"]


class Objective(Protocol):
    """The training loss of one run."""

    def __call__(self, logits: Tensor, targets: Tensor, teacher_logits: Tensor | None) -> dict[str, Tensor]:
        """{"loss": what is minimised, and every named part of it}; scalars. Shapes (B, L)."""

    def supervised(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The part that needs no teacher, for validation."""


class Reader(Protocol):
    """Reads a folder of raw files."""

    def __call__(self, folder: Path, *, allow_missing: bool) -> Reading: ...


class ModelBuilder(Protocol):
    """Builds a student or a teacher, initialised as a function of the seed alone."""

    def __call__(
        self, config: ModelConfig, *, num_labels: int, in_channels: int, prior: Sequence[float] | None, seed: int
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Budget:
    """How much a study does: epochs of the default teacher, trials, epochs of a trial, epochs of the promotion."""

    teacher_epochs: int
    num_trials: int
    max_epochs: int
    promote_epochs: int


@dataclass(frozen=True)
class Defaults:
    """What a task does on one kind of device when the person says nothing.

    Attributes:
        space: file name in `search_spaces/`.
        budget: for a data set of the person's own; demo_budget: for the built-in one, to be over in minutes.
        config: dotted configuration keys every run of the study starts from.
        teacher: dotted keys of the default teacher's own configuration, over `config`; its epochs are the budget's.
    """

    space: str
    budget: Budget
    demo_budget: Budget
    config: Mapping[str, Any]
    teacher: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One kind of question asked of images.

    Attributes:
        name: as typed after `--task`.
        title: one line for people.
        target_kind: decides nothing by itself; recorded in what is exported.
        read: raw folder -> table.
        write_phantom: writes the built-in data set below a folder and returns its place; reports progress.
        build_model: configuration -> module taking uint8 images, giving logits.
        make_objective: (configuration, training targets (R, L)) -> loss.
        probabilities: logits (N, L) -> probabilities (N, L).
        evaluate: (probabilities (N, L), targets (N, L), labels) -> metrics.
        metric: the scalar of `evaluate` that selection maximises.
        prior: training targets -> what the model's last bias starts from, or None.
        sample_weights: (targets, sampler name) -> (R,) weights; None draws every row once.
        bootstrap: the same metric under resampled rows, for intervals.
        choose_thresholds: (probabilities, targets, labels, method=) -> thresholds by label, and notes.
        defaults: by device kind, "cpu" and "cuda".
    """

    name: str
    title: str
    target_kind: TargetKind
    read: Reader
    write_phantom: Callable[[Path, ProgressCallback | None], Path]
    build_model: ModelBuilder
    make_objective: Callable[[RunConfig, np.ndarray], Objective]
    probabilities: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray, np.ndarray, Sequence[str]], Evaluation]
    prior: Callable[[np.ndarray], Sequence[float] | None]
    sample_weights: Callable[[np.ndarray, str], np.ndarray | None]
    bootstrap: Metric
    choose_thresholds: Callable[..., tuple[dict[str, float], tuple[str, ...]]]
    defaults: Mapping[str, Defaults]
    metric: str = "auc_macro"
