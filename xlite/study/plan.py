"""What a study will do, decided and checked before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.gpu.probe import Footprint, Shapes
from xlite.models.limits import Limits
from xlite.study.candidates import Candidates
from xlite.study.footprints import divide, obtain_footprints
from xlite.study.model_costs import measure_costs
from xlite.study.options import Study
from xlite.study.rungs import describe_rungs, first_rung, rungs
from xlite.study.space import SearchSpace, check_space, load_space, losses_of, with_fixed

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
    """

    study: Study
    candidates: Candidates
    num_trials: int
    grace_epochs: int
    footprints: Mapping[str, Footprint | str]

    def describe(self) -> list[str]:
        """What is about to happen, in a few lines."""
        options, space = self.study.options, self.candidates.space
        lines = [f"{options.space.name}: {self.num_trials} trials of up to {options.max_epochs} epochs"]
        if space.is_grid:
            lines.append("A grid: every configuration runs to its end")
        else:
            lines.append(describe_rungs(rungs(options.max_epochs, self.grace_epochs)))
        lines.append(self.candidates.shares.describe())
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
        InputError: the space, the shares or the limits cannot be worked with.
    """
    options, base = study.options, study.base
    space = with_fixed(load_space(options.space, study.task.target_spec.kind), options.fixed)
    models = check_space(space, base, reserved=FIXED_KEYS)
    check_objectives(space, study, dataset)
    limits = Limits(options.max_params, options.max_mb, options.max_latency_ms)
    device = choose_device(base.train.precision)
    shapes = Shapes.of(dataset, options.task, study.task.target_spec.kind)
    footprints = obtain_footprints(space, study, shapes, device, console)
    shares = divide(options, footprints)
    with console.progress("Timing the space's students", "models") as progress:
        costs = measure_costs(models, base, dataset, device=device, limits=limits, progress=progress)
    held_back = max(base.optim.warmup_epochs, base.optim.freeze_epochs)
    grace = 0 if space.is_grid else first_rung(options.max_epochs, held_back, len(dataset.part("train")))
    num_trials = len(space.first) if space.is_grid else options.num_trials
    return StudyPlan(study, Candidates(space, base, costs, limits, shares, shapes), num_trials, grace, footprints)


def check_objectives(space: SearchSpace, study: Study, dataset: Dataset) -> None:
    """Form every loss the space can ask for, on the real targets, before a teacher is trained for nothing.

    Raises:
        InputError: a loss is for another kind of targets, or its weights do not fit the classes.
    """
    targets = dataset.targets[dataset.part("train")]
    for config in losses_of(space, study.base):
        study.task.target_spec.objective(config, targets)
