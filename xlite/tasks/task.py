"""What a task is: a value that names its parts. Nothing outside `tasks/` asks which task it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from xlite.config import DataConfig, RunConfig
from xlite.console import ProgressCallback
from xlite.data.batches import ViewReader
from xlite.data.dataset import Dataset
from xlite.data.preprocess import Preprocess
from xlite.data.sources import ParsedDataset
from xlite.data.views import Augment, augment
from xlite.errors import InputError
from xlite.tasks.target_spec import TARGET_SPECS, TargetSpec


class Reader(Protocol):
    """Reads a folder of raw files.

    `data` is the configuration's data section, for readers that cut examples by it; `column_overrides` holds what the
    person said of a table's columns, by option name, empty unless the task `takes_columns`.
    """

    def __call__(
        self, folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]
    ) -> ParsedDataset: ...


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
        space, baselines: file names in `search_spaces/`, of the search and of the grid without distillation.
        budget: for a data set of the person's own; demo_budget: for the built-in one, to be over in minutes.
        config: dotted configuration keys every run of the study starts from.
        teacher: dotted keys of the default teacher's own configuration, over `config`; its epochs are the budget's.
        folds, demo_folds: models of the promoted ensemble, each trained without one fold; 1 promotes a single model.
    """

    space: str
    baselines: str
    budget: Budget
    demo_budget: Budget
    config: Mapping[str, Any]
    teacher: Mapping[str, Any]
    folds: int = 1
    demo_folds: int = 1


@dataclass(frozen=True)
class Task:
    """One kind of question asked of images.

    Attributes:
        name: as typed after `--task`.
        title: one line for people.
        read: raw folder -> table.
        preprocess: (data section, what was read) -> how a raw input becomes a row of the pixel cache.
        defaults: by device kind, "cpu" and "cuda".
        declared_target_spec: what its targets are; None where the data says which of `TARGET_SPECS`.
        write_phantom: writes the built-in data set below a folder and returns its place; None where there is none.
        augment: gives views of the cached inputs.
        takes_columns: whether the reader heeds --file-column and its like.
        keeps_own_split: whether lists that came with the data are the default split.
    """

    name: str
    title: str
    read: Reader
    preprocess: Callable[[DataConfig, ParsedDataset], Preprocess]
    defaults: Mapping[str, Defaults]
    declared_target_spec: TargetSpec | None
    write_phantom: Callable[[Path, ProgressCallback | None], Path] | None = None
    augment: Augment = augment
    takes_columns: bool = False
    keeps_own_split: bool = False

    @property
    def target_spec(self) -> TargetSpec:
        """What its targets are; known from `resolve_targets` on."""
        assert self.declared_target_spec is not None, f"{self.name}: what its targets are is known once data was read"
        return self.declared_target_spec

    @property
    def metric(self) -> str:
        """The scalar that selection maximises."""
        return self.target_spec.score

    def train_views(self, dataset: Dataset, config: RunConfig) -> ViewReader:
        """The augmented views of the training part; trials and teacher bank have them in common."""
        train = dataset.part("train")
        return ViewReader(
            dataset.open_pixels(),
            dataset.rows[train],
            config.data.augmentation,
            config.train.seed,
            self.augment,
            dataset.auxiliary_of(train),
        )

    def resolve_targets(self, kind: str) -> "Task":
        """This task for data whose targets are of this kind.

        Raises:
            InputError: it declares another kind than its reader gave.
        """
        if self.declared_target_spec is None:
            return replace(self, declared_target_spec=TARGET_SPECS[kind])
        if self.target_spec.kind != kind:
            raise InputError(f"task {self.name}: made for {self.target_spec.kind} targets, but the data is {kind}")
        return self
