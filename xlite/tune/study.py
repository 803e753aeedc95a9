"""One study: checked and planned, then searched; continued when its name is used again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from xlite.config import flatten
from xlite.console import Console
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.errors import InputError
from xlite.gpu.probe import Footprint
from xlite.ledger import Ledger, TrialRecord, stored_url
from xlite.models.cost import Limits
from xlite.report.leaderboard import leaderboard_of, write_leaderboard
from xlite.storage.locks import locked
from xlite.study.footprints import divide, obtain_footprints, share_of, sharing_of
from xlite.study.job import STUDENT, Job, forget_cut_off_epoch, has_begun, trial_folder
from xlite.study.manifest import check_comparable, check_same, metric_metadata, plain, write_study
from xlite.study.model_costs import ModelCosts, measure_costs
from xlite.study.options import Study
from xlite.study.shares import Shares
from xlite.study.space import SearchSpace, check_space, distils, load_space, losses_of, with_fixed
from xlite.study.teacher import StudyTeacher, num_views, obtain_bank, obtain_teacher
from xlite.study.view import SearchView, where_time_went
from xlite.study.warm_start import warm_up
from xlite.tasks.prepare import Prepared
from xlite.train.checkpoint import remove_checkpoints
from xlite.train.record import finite
from xlite.tune.asha import expected_epochs, first_rung, forget, make_asha, replay, replay_unfinished, rungs
from xlite.tune.execute import run_trials
from xlite.tune.search import LedgerSearch, remember_stops

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
        footprints: what configurations take of a GPU, by `probe.footprint_key`, or why that is not known.
    """

    study: Study
    space: SearchSpace
    measure_costs: ModelCosts
    limits: Limits
    shares: Shares
    num_trials: int
    grace_epochs: int
    footprints: Mapping[str, Footprint | str] = field(default_factory=dict)


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
    space = with_fixed(load_space(options.space, study.task.target_spec.kind), options.fixed)
    models = check_space(space, base, reserved=FIXED_KEYS)
    check_objectives(space, study, dataset)
    limits = Limits(options.max_params, options.max_mb, options.max_latency_ms)
    device = choose_device(base.train.precision)
    footprints = obtain_footprints(space, study, dataset, device, console)
    shares = divide(options, footprints)
    with console.progress("Timing the space's students", "models") as progress:
        costs = measure_costs(models, base, dataset, device=device, limits=limits, progress=progress)
    held_back = max(base.optim.warmup_epochs, base.optim.freeze_epochs)
    grace = 0 if space.is_grid else first_rung(options.max_epochs, held_back, len(dataset.part("train")))
    num_trials = len(space.first) if space.is_grid else options.num_trials
    return StudyPlan(study, space, costs, limits, shares, num_trials, grace, footprints)


def check_objectives(space: SearchSpace, study: Study, dataset: Dataset) -> None:
    """Form every loss the space can ask for, on the real targets, before a teacher is trained for nothing.

    Raises:
        InputError: a loss is for another kind of targets, or its weights do not fit the classes.
    """
    targets = dataset.targets[dataset.part("train")]
    for config in losses_of(space, study.base):
        study.task.target_spec.objective(config, targets)


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
        InputError: the study exists and means something else, another process runs it, or the search cannot go on.
    """
    options = plan.study.options
    try:
        with locked(options.folder, waiting=None):
            return _run(plan, prepared, console)
    except BlockingIOError:
        raise InputError(
            f"study {options.name}: another process runs it; let it end, or choose another --study"
        ) from None


def _run(plan: StudyPlan, prepared: Prepared, console: Console) -> StudyResult:
    study = plan.study
    options = study.options
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
        metadata={**meaning, "config": flatten(study.base), **metric_metadata(study.task)},
        on_wait=console.say,
    )
    if not ledger.rows():
        warm_up(ledger, plan.space, options, console)
    elif options.warm_start:
        console.say(f"--warm-start {options.warm_start}: {options.name} has begun already; it goes on as it is")
    job = Job(
        task=options.task,
        kind=study.task.target_spec.kind,
        base=study.base,
        dataset=prepared.search,
        bank=bank,
        folder=options.folder,
        sharing=sharing_of(plan.shares, plan.footprints),
        pause_s=options.pause_s,
        hang_limit_s=options.hang_limit_s,
    )
    num_interrupted = _search(plan, ledger, job, console)
    return StudyResult(ledger, teacher, ledger.best(), num_interrupted)


def _search(plan: StudyPlan, ledger: Ledger, job: Job, console: Console) -> int:
    """Run the trials that are still wanted; returns how many were cut off."""
    study = plan.study
    ledger.queue(plan.space.first)  # what is missing of it: an earlier process may have been killed meanwhile
    unfinished = ledger.unfinished()
    ended = [
        row for row in ledger.rows() if row.state in ("complete", "pruned", "failed") and not row.record.get("left_out")
    ]
    num_wanted = plan.num_trials - len(ended)
    if ended or unfinished:
        going_on = f", {len(unfinished)} of them from their last epoch" if unfinished and num_wanted > 0 else ""
        console.say(
            f"Continuing {study.options.name}: {len(ended)} trials are there, {max(0, num_wanted)} to go{going_on}"
        )
    stopped: set[str] = set()
    scheduler: TrialScheduler = FIFOScheduler()
    asha = make_asha(study.options.max_epochs, plan.grace_epochs) if plan.grace_epochs else None
    if asha is not None:
        replay(asha, ended)
        scheduler = remember_stops(asha, stopped)

    def on_taken_up(trial_id: str, row: TrialRecord) -> None:
        forget_cut_off_epoch(study.options.folder, row.number)
        if asha is not None:
            replay_unfinished(asha, trial_id, row.curve)

    def on_finished(number: int) -> None:
        remove_checkpoints(trial_folder(study.options.folder, number), STUDENT)

    view = _view(plan, ledger, len(ended), console)
    search = LedgerSearch(
        ledger,
        plan.space.propose,
        num_trials=num_wanted,
        limits=plan.limits,
        cost_of=plan.measure_costs.cost_of,
        stopped_by_scheduler=stopped,
        observer=view,
        unfinished=unfinished,
        on_taken_up=on_taken_up,
        on_given_up=partial(forget, asha),
        on_finished=on_finished,
        has_begun=partial(has_begun, study.options.folder),
        batch_size_of=lambda overrides: study.base.override(overrides, source="trial").optim.batch_size,
        share_of=partial(share_of, plan.shares, job),
    )
    if num_wanted > 0:
        with view:
            run_trials(job, search, scheduler, shares=plan.shares, options=study.options, console=console)
    update_leaderboard(ledger, study)
    console.say(where_time_went(ledger.rows()))
    if search.failure is not None:
        raise search.failure
    return len(search.running)


def _view(plan: StudyPlan, ledger: Ledger, num_ended: int, console: Console) -> SearchView:
    best = ledger.best()
    max_epochs = plan.study.options.max_epochs
    return SearchView(
        console,
        metric=plan.study.task.metric,
        total=plan.num_trials,
        done=num_ended,
        max_epochs=max_epochs,
        expected_epochs=expected_epochs(max_epochs, plan.grace_epochs),
        write_leaderboard=lambda: update_leaderboard(ledger, plan.study),
        best=best.value if best and best.state == "complete" else None,
    )


def update_leaderboard(ledger: Ledger, study: Study) -> None:
    """Bring `leaderboard.csv` up to date: a search's own; baselines stand in that of their search."""
    options = study.options
    if options.phase == "search":
        write_leaderboard(options.folder / "leaderboard.csv", leaderboard_of(ledger))
        return
    with Ledger.open(options.storage, options.name, create=True, metadata=metric_metadata(study.task)) as search:
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
        "kind": study.task.target_spec.kind,
        "max_epochs": options.max_epochs,
        "threads": base.train.threads,
        "settings": dict(options.settings),
    }


def _details(plan: StudyPlan, prepared: Prepared, teacher: StudyTeacher | None) -> dict[str, Any]:
    storage = stored_url(plan.study.options.storage)
    options = replace(plan.study.options, storage=storage)
    return {
        "storage": storage,
        "options": plain(asdict(options)),
        "request": plain(asdict(prepared.request)),
        "base": flatten(plan.study.base),
        "teacher": {"name": teacher.names, "value": finite(teacher.value)} if teacher else None,
        "split_file": str(prepared.split_file),
        "pixel_key": prepared.full.pixel_key,
        "shares": asdict(plan.shares),
    }
