"""One study: checked and planned, then searched; continued when its name is used again."""

from dataclasses import asdict, dataclass
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from xlite.config import flatten
from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.leaderboard import leaderboard_of, write_leaderboard
from xlite.ledger import Ledger, TrialRecord
from xlite.tasks.prepare import Prepared
from xlite.train.record import finite
from xlite.tune.execute import run_trials
from xlite.tune.identity import check_comparable, check_same, plain, write_study
from xlite.tune.resources import Shares, plan_shares
from xlite.tune.search import LedgerSearch, Limits, remember_stops
from xlite.tune.setup import Study, StudyTeacher, num_views, obtain_bank, obtain_teacher
from xlite.tune.space import SearchSpace, check_space, distils, load_space, losses_of, with_fixed
from xlite.tune.stopping import expected_epochs, first_rung, make_asha, replay, rungs
from xlite.tune.survey import Survey, survey
from xlite.tune.trainable import Job
from xlite.tune.view import SearchView

FIXED_KEYS = (
    *("data.image_size", "data.window_lines", "data.augmentation", "train.seed", "train.epochs", "train.threads"),
    *("model.architecture", "model.num_slices", "model.num_levels", "optim.warmup_epochs", "optim.freeze_epochs"),
)
"""Keys one study has one value of: the teacher's views, the budget and the arithmetic are shared by its trials."""


@dataclass(frozen=True)
class StudyPlan:
    """Everything decided before anything is trained.

    Attributes:
        num_trials: complete, pruned and failed trials the study is to have.
        grace_epochs: ASHA's first rung; 0 for a grid, whose trials all run to the end.
    """

    study: Study
    space: SearchSpace
    survey: Survey
    limits: Limits
    shares: Shares
    num_trials: int
    grace_epochs: int


@dataclass(frozen=True)
class StudyResult:
    """What a search left behind.

    Attributes:
        teacher: None where no trial needed one.
        winner: the best trial by the leaderboard's rule; None when nothing was completed or stopped.
        num_interrupted: trials that were cut off; the same command continues.
    """

    ledger: Ledger
    teacher: StudyTeacher | None
    winner: TrialRecord | None
    num_interrupted: int


def plan_study(study: Study, dataset: Dataset, console: Console) -> StudyPlan:
    """Check the space, divide the machine, and time the space's students while the device is quiet.

    Raises:
        InputError: the space, the shares or the limits cannot be worked with.
    """
    options, base = study.options, study.base
    space = with_fixed(load_space(options.space, study.task.family.kind), options.fixed)
    models = check_space(space, base, reserved=FIXED_KEYS)
    check_objectives(space, study, dataset)
    limits = Limits(options.max_params, options.max_mb, options.max_latency_ms)
    shares = plan_shares(options)
    device = choose_device(base.train.precision)
    with console.progress("Timing the space's students", "models") as progress:
        costs = survey(models, base, dataset, device=device, limits=limits, progress=progress)
    grace = (
        0 if space.is_grid else first_rung(options.max_epochs, max(base.optim.warmup_epochs, base.optim.freeze_epochs))
    )
    num_trials = len(space.first) if space.is_grid else options.num_trials
    return StudyPlan(study, space, costs, limits, shares, num_trials, grace)


def check_objectives(space: SearchSpace, study: Study, dataset: Dataset) -> None:
    """Form every loss the space can ask for, on the real targets, before a teacher is trained for nothing.

    Raises:
        InputError: a loss is for another kind of targets, or its weights do not fit the classes.
    """
    targets = dataset.targets[dataset.part("train")]
    for config in losses_of(space, study.base):
        study.task.family.make_objective(config, targets)


def describe_plan(plan: StudyPlan) -> list[str]:
    """What is about to happen, in a few lines."""
    options = plan.study.options
    lines = [f"{options.space.name}: {plan.num_trials} trials of up to {options.max_epochs} epochs"]
    if plan.space.is_grid:
        lines.append("A grid: every configuration runs to its end")
    else:
        at = ", ".join(map(str, rungs(options.max_epochs, plan.grace_epochs)))
        lines.append(f"ASHA compares trials after {at or 'no'} epochs and lets the best third go on")
    lines.append(plan.shares.describe())
    return lines


def run_study(plan: StudyPlan, prepared: Prepared, console: Console) -> StudyResult:
    """Teacher, bank, search.

    Raises:
        InputError: the study exists and means something else, or the search cannot go on.
    """
    study = plan.study
    options = study.options
    options.folder.mkdir(parents=True, exist_ok=True)
    meaning = _meaning(plan, prepared)
    searched = options.phase == "search"
    check_comparable(options.folder / "baselines" if searched else options.folder.parent, meaning)
    check_same(options.folder, meaning)  # before a teacher is trained for nothing
    teacher = obtain_teacher(study, prepared.full, console) if distils(plan.space, study.base) else None
    meaning["teacher"] = teacher.teacher.key if teacher else None
    check_same(options.folder, meaning)
    write_study(options.folder, meaning, _details(plan, prepared, teacher))
    bank = obtain_bank(study, teacher.teacher, prepared.search, console) if teacher else None
    ledger = Ledger.open(
        options.storage,
        options.name,
        create=True,
        phase=options.phase,
        seed=options.seed,
        num_startup=max(5, plan.num_trials // 4),
        metadata={**meaning, "config": flatten(study.base)},
    )
    job = Job(
        options.task,
        study.task.family.kind,
        study.base,
        prepared.search,
        bank,
        options.folder,
        plan.shares.gpus_per_trial,
        options.pause_s,
    )
    num_interrupted = _search(plan, ledger, job, console)
    return StudyResult(ledger, teacher, ledger.best(), num_interrupted)


def _search(plan: StudyPlan, ledger: Ledger, job: Job, console: Console) -> int:
    """Run the trials that are still wanted; returns how many were cut off."""
    study = plan.study
    ended = _take_up(plan.space, ledger)
    num_wanted = plan.num_trials - len(ended)
    if ended:
        console.say(f"Continuing {study.options.name}: {len(ended)} trials are there, {max(0, num_wanted)} to go")
    stopped: set[str] = set()
    scheduler: TrialScheduler = FIFOScheduler()
    if plan.grace_epochs:
        asha = make_asha(study.options.max_epochs, plan.grace_epochs)
        replay(asha, ended)
        scheduler = remember_stops(asha, stopped)
    best = ledger.best()
    view = SearchView(
        console,
        metric=study.task.metric,
        total=plan.num_trials,
        done=len(ended),
        max_epochs=study.options.max_epochs,
        expected_epochs=expected_epochs(study.options.max_epochs, plan.grace_epochs),
        write_leaderboard=lambda: update_leaderboard(ledger, study),
        best=best.value if best and best.state == "complete" else None,
    )
    search = LedgerSearch(
        ledger,
        plan.space.propose,
        num_trials=num_wanted,
        limits=plan.limits,
        cost_of=plan.survey.cost_of,
        stopped_by_scheduler=stopped,
        observer=view,
    )
    if num_wanted > 0:
        with view:
            run_trials(job, search, scheduler, shares=plan.shares, options=study.options, num_trials=num_wanted)
    update_leaderboard(ledger, study)
    if search.failure is not None:
        raise search.failure
    return len(search.running)


def _take_up(space: SearchSpace, ledger: Ledger) -> list[TrialRecord]:
    """Queue what is to run first; returns the trials that count. What was cut off before is run again."""
    rows = ledger.rows()
    if not rows:
        for configuration in space.first:
            ledger.enqueue(configuration)
    for overrides in ledger.abandon_running("interrupted"):
        ledger.enqueue(overrides)
    ended = [row for row in ledger.rows() if row.state in ("complete", "pruned", "failed")]
    return [row for row in ended if not row.record.get("left_out") and not row.record.get("interrupted")]


def update_leaderboard(ledger: Ledger, study: Study) -> None:
    """Bring `leaderboard.csv` up to date: a search's own; baselines stand in that of their search."""
    options = study.options
    if options.phase == "search":
        write_leaderboard(options.folder / "leaderboard.csv", leaderboard_of(ledger))
        return
    with Ledger.open(options.storage, options.name, create=True, metadata={"metric": study.task.metric}) as search:
        write_leaderboard(options.folder.parent / "leaderboard.csv", leaderboard_of(search))


def _meaning(plan: StudyPlan, prepared: Prepared) -> dict[str, Any]:
    study = plan.study
    options, base = study.options, study.base
    return {
        "task": options.task,
        "data": prepared.full.content_hash(),
        "split": prepared.full.split_hash,
        "subset": prepared.subset_share,
        "image_size": base.data.image_size,
        "augmentation": base.data.augmentation,
        "num_views": num_views(options.max_epochs),
        "seed": options.seed,
        "space": plan.space.content_hash,
        "metric": study.task.metric,
        "kind": study.task.family.kind,
        "max_epochs": options.max_epochs,
        "threads": base.train.threads,
        "settings": dict(options.settings),
    }


def _details(plan: StudyPlan, prepared: Prepared, teacher: StudyTeacher | None) -> dict[str, Any]:
    options = plan.study.options
    return {
        "storage": options.storage,
        "options": plain(asdict(options)),
        "request": plain(asdict(prepared.request)),
        "base": flatten(plan.study.base),
        "teacher": {"name": teacher.names, "value": finite(teacher.value)} if teacher else None,
        "split_file": str(prepared.split_file),
        "pixel_key": prepared.full.pixel_key,
        "shares": asdict(plan.shares),
    }
