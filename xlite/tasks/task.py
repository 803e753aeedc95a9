"""A task: how raw files are read and prepared, what the targets are, and the defaults."""

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

    `data` is the configuration's data section, for readers whose examples depend on it; `column_overrides` are the
    user's choices of a table's columns by option name, empty unless the task `takes_columns`.
    """

    def __call__(
        self, folder: Path, *, allow_missing: bool, data: DataConfig, column_overrides: Mapping[str, Any]
    ) -> ParsedDataset: ...


@dataclass(frozen=True)
class Budget:
    """Epochs of the default teacher, number of trials, epochs of a trial and of the promotion."""

    teacher_epochs: int
    num_trials: int
    max_epochs: int
    promote_epochs: int


@dataclass(frozen=True)
class Defaults:
    """A task's defaults on one kind of device, or for one kind of data on it.

    Attributes:
        space, baselines: file names in `search_spaces/`, of the search and of the grid without distillation.
        budget: for the user's own data; demo_budget: for the built-in data set, to finish in minutes.
        config: dotted configuration keys every run of the study starts from.
        teacher: dotted keys of the default teacher's own configuration, over `config`; its epochs are the budget's.
        folds: models of the ensemble promoted on the user's own data, each trained without one fold; 1: a single model.
    """

    space: str
    baselines: str
    budget: Budget
    demo_budget: Budget
    config: Mapping[str, Any]
    teacher: Mapping[str, Any]
    folds: int = 1


@dataclass(frozen=True)
class Task:
    """What is classified, and how.

    Attributes:
        name: as typed after `--task`.
        title: one line to show.
        read: raw folder -> table.
        preprocess: (data section, parsed data set) -> how a raw input becomes a row of the pixel cache.
        defaults: by device kind, "cpu" and "cuda"; "cpu_pretrained", if there are any, for the user's own data on a CPU
            where the published weights that they name can be had.
        declared_target_spec: None if the data decides which of `TARGET_SPECS` applies.
        write_phantom: writes the built-in data set below a folder and returns its folder; None if there is none.
        augment: makes views of the cached inputs.
        takes_columns: whether the reader uses --file-column and the like.
        keeps_own_split: whether the default split is that of lists in the data set.
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
        """The target spec; known after `resolve_targets`."""
        assert self.declared_target_spec is not None, f"{self.name}: the kind of targets is known after reading data"
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
