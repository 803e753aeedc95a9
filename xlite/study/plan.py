"""What a study will do, decided and checked before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xlite.config import REMOVED_KEYS, RunConfig, flatten
from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.gpu.probe import Footprint, Shapes
from xlite.models.limits import Limits
from xlite.models.origins import describe_origins, started
from xlite.study.candidates import Candidates
from xlite.study.fixed_keys import with_fixed
from xlite.study.footprints import divide, obtain_footprints, why_no_mps
from xlite.study.model_costs import latency_target, measure_costs
from xlite.study.options import Study
from xlite.study.probes import check_space, distinct, model_of
from xlite.study.rungs import describe_rungs, first_rung, rungs
from xlite.study.shares import Shares
from xlite.study.space import SearchSpace, load_space
from xlite.study.starting_weights import study_origins, with_random_starts
from xlite.train.canonical import canonical, unread_keys

FIXED_KEYS = (
    *("data.image_size", "data.window_lines", "data.augmentation", "train.seed", "train.epochs", "train.threads"),
    *("model.architecture", "model.num_slices", "model.num_levels", "optim.warmup_epochs", "optim.freeze_epochs"),
)
"""Keys a study has one value of: its trials share the teacher's views, the budget and the arithmetic."""


@dataclass(frozen=True)
class StudyPlan:
    """A study, ready to run.

    Attributes:
        num_trials: complete, pruned and failed trials the study is to have.
        grace_epochs: ASHA's first rung; 0 for a grid, whose trials all run to the end.
        footprints: what configurations take of a GPU, by `probe.footprint_key`, or why that is not known.
        distils: whether any trial needs a teacher.
        configs: drawn from the space; all of a grid.
    """

    study: Study
    candidates: Candidates
    num_trials: int
    grace_epochs: int
    footprints: Mapping[str, Footprint | str]
    distils: bool
    configs: Sequence[RunConfig] = ()

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared, the budget last; () for a grid."""
        max_epochs = self.study.options.max_epochs
        return (*rungs(max_epochs, self.grace_epochs), max_epochs) if self.grace_epochs else ()

    def describe(self) -> list[str]:
        """What is about to happen, in a few lines."""
        options, space = self.study.options, self.candidates.space
        lines = [f"{options.space.name}: {self.num_trials} trials of up to {options.max_epochs} epochs"]
        if space.is_grid:
            lines.append("A grid: every configuration runs to its end")
        else:
            lines.append(describe_rungs(rungs(options.max_epochs, self.grace_epochs)))
        lines.append(self.candidates.shares.describe())
        if options.objectives:
            words = {"max": "high", "min": "low"}
            wanted = ((name, words[direction]) for name, direction in (each.split(":") for each in options.objectives))
            lines.append("Objectives: " + ", ".join(f"{name} {word}" for name, word in wanted))
        undecided = [cost for cost in self.candidates.costs.costs.values() if self.candidates.limits.undecided_by(cost)]
        if undecided:
            spread_ms = max(cost.latency_spread_ms or 0.0 for cost in undecided)
            lines.append(
                f"--max-latency-ms {options.max_latency_ms:g} lies within the spread of {len(undecided)} measured "
                f"latencies (up to ± {spread_ms:.1f} ms; less on a quiet machine): these students are tried"
            )
        return lines


def plan_study(study: Study, dataset: Dataset, console: Console) -> StudyPlan:
    """Check the space, divide the machine, and time the space's students while the device is quiet.

    Raises:
        InputError: the space, the shares, the precision or the limits cannot be worked with here, or weights cannot be
            had.
    """
    options, base = study.options, study.base
    space, configs = open_space(study)
    study = replace(study, origins=study_origins(study, configs))
    space, configs = with_random_starts(space, study), [started(config, study.origins) for config in configs]
    check_objectives(configs, study, dataset)
    limits = Limits(options.max_params, options.max_mb, options.max_latency_ms)
    for config in distinct(configs, lambda config: config.train.precision):
        choose_device(config.train.precision)
    device = choose_device(base.train.precision)
    shapes = Shapes.of(dataset, options.task, study.task.target_spec.kind, device)
    steps = distinct(configs, lambda config: (model_of(config), config.optim.batch_size))
    footprints = obtain_footprints(steps, study, shapes, device, console)
    shares = divide(options, footprints)
    models = [config.model for config in distinct(configs, model_of)]
    with console.progress("Timing the space's students", "models") as progress:
        timed_on, threads = latency_target(options.latency_device, device, base.train.threads)
        costs = measure_costs(models, dataset, device=timed_on, threads=threads, limits=limits, progress=progress)
    held_back = max(base.optim.warmup_epochs, base.optim.freeze_epochs)
    grace = 0 if space.is_grid else first_rung(options.max_epochs, held_back, len(dataset.part("train")))
    num_trials = min(options.grid_trials or len(space.first), len(space.first)) if space.is_grid else options.num_trials
    candidates = Candidates(space, study, costs, limits, shares, shapes)
    distils = any(config.distill.needs_teacher for config in configs)
    for note in [*describe_origins(study.origins or {}), *option_notes(study, space, configs, shares)]:
        console.say(note)
    return StudyPlan(study, candidates, num_trials, grace, footprints, distils, configs)


def open_space(study: Study) -> tuple[SearchSpace, list[RunConfig]]:
    """The study's space with what `--set` fixes, a grid without repeats; and configurations drawn from it.

    Raises:
        InputError: the space does not fit the study.
    """
    options, base = study.options, study.base
    space = load_space(options.space, study.task.target_spec.kind).identified_with(options.fixed)
    if options.phase == "baseline" and not space.is_grid:
        raise InputError(f"{space.path}: only a grid (CONFIGURATIONS) can be run as baselines; use `xlite tune`")
    values = {**REMOVED_KEYS, **flatten(base)}
    space = with_fixed(space, {key: values[key] for key in options.fixed_keys})
    configs = check_space(space, base, reserved=FIXED_KEYS)
    if not space.is_grid:
        return space, configs
    kept: dict[str, Mapping[str, Any]] = {}
    for chosen, config in zip(space.first, configs, strict=True):
        kept.setdefault(canonical(config, study.task.target_spec).model_dump_json(), chosen)
    return replace(space, first=tuple(kept.values())), configs


def check_objectives(configs: Sequence[RunConfig], study: Study, dataset: Dataset) -> None:
    """Form every loss of these configurations on the real targets, before a teacher is trained for nothing.

    Raises:
        InputError: a loss is for another kind of targets, or its weights do not fit the classes.
    """
    targets = dataset.targets[dataset.part("train")]
    for config in distinct(configs, lambda config: (config.loss.name, config.loss.class_weights)):
        study.task.target_spec.objective(config, targets)


def option_notes(study: Study, space: SearchSpace, configs: Sequence[RunConfig], shares: Shares) -> list[str]:
    """A line for each option of this study that has no effect, or another than it says.

    Args:
        space: without repeats; configs: drawn from it; all of a grid.
    """
    options, notes = study.options, []
    if space.is_grid and len(configs) > len(space.first):
        num = len(configs) - len(space.first)
        notes.append(f"{num} of the grid's {len(configs)} configurations train the same as earlier ones: left out")
    if space.is_grid and (options.grid_trials or 0) > len(space.first):
        notes.append(f"--trials {options.grid_trials}: the grid has {len(space.first)} configurations")
    if options.teacher_files and not any(config.distill.needs_teacher for config in configs):
        notes.append(f"--teacher: no trial of {options.space.name} distils, so the teacher is not used")
    for key in unread_keys(options.settings, configs, study.task.target_spec):
        notes.append(f"--set {key}: no trial of {options.space.name} reads it")
    if (options.max_concurrent or 0) > shares.max_concurrent:
        notes.append(f"--max-concurrent {options.max_concurrent}: {shares.why_no_more()}")
    if options.mps and (reason := why_no_mps(options, shares.num_gpus)):
        notes.append(f"--mps cannot be used: {reason}")
    return notes
