"""What a person asks of a study, all defaults resolved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xlite.config import Pretrained, RunConfig
from xlite.device import device_kind
from xlite.distill.teachers.values import Answers
from xlite.models.origins import Origins, started
from xlite.tasks.defaults import base_config, pretrained_keys, teacher_config
from xlite.tasks.task import Task


@dataclass(frozen=True)
class TeacherRequest:
    """A teacher, as asked for.

    Attributes:
        files: models of ours, ONNX models, tables of answers.
        answers: what the values of tables are that do not say it themselves.
        weights: one for each file; () weighs all alike.
        trained_on: text files of the images or patients that it has seen.
        allow_other_split: accept one that has seen, or may have seen, images that are judged here.
    """

    files: tuple[Path, ...]
    answers: Answers | None = None
    weights: tuple[float, ...] = ()
    trained_on: tuple[Path, ...] = ()
    allow_other_split: bool = False


@dataclass(frozen=True)
class StudyOptions:
    """One study, as asked for.

    Attributes:
        name: by which the ledger knows the study; its folder may have been renamed.
        folder: of the search, or of the baselines inside it.
        storage: database URL of the ledger.
        phase: what its rows are, "search" or "baseline" (of the search of that name; its folder is inside that one's).
        space: the search-space file.
        num_trials: complete, pruned and failed trials of a search together.
        grid_trials: configurations of a grid to run, the first ones; None runs all.
        settings: dotted keys fixed in every trial (`--set`), over the task's defaults and the space's choices.
        promote_epochs, teacher_epochs: budgets of the promotion's and the default teacher's training.
        num_folds: models of the promoted ensemble, each judged on the fold it did not see; 1 promotes a single model.
        promote_top, promote_seeds: trials that are trained again before one is promoted, and seeds of each; None: as
            many as fit into the search's own time.
        num_repeats: how often the folds are dealt, each time anew, for as many times the models.
        teacher_files: none trains the task's default teacher. The other options of a teacher: see `TeacherRequest`.
        pretrained: whether models start from published weights, see `Pretrained`.
        defaults: which of the task's defaults it follows; None: the device's.
        max_params, max_mb, max_latency_ms: limits a student must keep before it is trained; None does not limit.
        gpus_per_trial: share of a GPU; None divides the GPU among `max_concurrent` trials.
        cpus_per_trial: threads of a trial.
        max_concurrent: trials at once; None takes what the machine holds.
        mps: let the kernels of trials on one GPU overlap, by NVIDIA's MPS, if a process can compute through it.
        time_budget_s: no trial starts after this; None does not limit.
        promote_reserve_s: after that, for running trials to end and for promotion; None does not limit.
        fixed: more of them, e.g. of a power-safe profile.
        pause_s: a trial rests this long after an epoch.
        warm_start: another study of these results, whose best configurations come first; only a new study heeds it.
        hang_limit_s: a trial that finishes no epoch in this time is ended, and recorded as failed.
        address: a Ray cluster to join; None starts Ray on this machine.
        objectives: each as "name:max" or "name:min", the score first; () searches for the score alone.
        latency_device: where students are timed, see `latency_target`; None: where and with as many threads as trials.
    """

    name: str
    folder: Path
    storage: str
    task: str
    space: Path
    num_trials: int
    max_epochs: int
    promote_epochs: int
    teacher_epochs: int
    seed: int
    cache_dir: Path
    settings: Mapping[str, Any]
    grid_trials: int | None = None
    num_folds: int = 1
    promote_top: int | None = None
    promote_seeds: int | None = None
    num_repeats: int = 1
    phase: Literal["search", "baseline"] = "search"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    pause_s: float = 0.0
    teacher_files: tuple[Path, ...] = ()
    teacher_answers: Answers | None = None
    teacher_weights: tuple[float, ...] = ()
    teacher_trained_on: tuple[Path, ...] = ()
    allow_other_split: bool = False
    pretrained: Pretrained = "auto"
    defaults: str | None = None
    max_params: int | None = None
    max_mb: float | None = None
    max_latency_ms: float | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int = 1
    max_concurrent: int | None = None
    mps: bool = False
    time_budget_s: float | None = None
    promote_reserve_s: float | None = None
    warm_start: str | None = None
    hang_limit_s: float = 3600.0
    address: str | None = None
    objectives: tuple[str, ...] = ()
    latency_device: str | None = None

    @property
    def root(self) -> Path:
        """The study's folder."""
        return self.folder if self.phase == "search" else self.folder.parent

    @property
    def fixed_keys(self) -> dict[str, Any]:
        """Dotted keys fixed in every trial, whatever the space says."""
        return {**self.settings, **self.fixed, **pretrained_keys(self.pretrained, self.settings)}

    @property
    def teacher(self) -> TeacherRequest:
        """What is asked of the teacher."""
        return TeacherRequest(
            self.teacher_files,
            self.teacher_answers,
            self.teacher_weights,
            self.teacher_trained_on,
            self.allow_other_split,
        )

    def configure(self, task: Task) -> RunConfig:
        """The configuration that the study's trials start from, for its task on this device.

        Raises:
            InputError: a setting is unknown, out of range, or for other targets.
        """
        return base_config(
            task,
            self.defaults or device_kind(),
            max_epochs=self.max_epochs,
            seed=self.seed,
            threads=self.cpus_per_trial,
            settings=self.fixed_keys,
        )


@dataclass(frozen=True)
class Study:
    """What was asked, of which task, on which base configuration.

    Attributes:
        origins: the weights its models start from; None before they are looked for, and in studies of earlier versions,
            which did not record them.
    """

    options: StudyOptions
    task: Task
    base: RunConfig
    origins: Origins | None = None

    def teacher_config(self) -> RunConfig:
        """The default teacher's."""
        options = self.options
        config = teacher_config(
            self.task,
            self.base,
            options.defaults or device_kind(),
            epochs=options.teacher_epochs,
            pretrained=options.pretrained,
        )
        return started(config, self.origins)
