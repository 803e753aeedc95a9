"""One study run: teacher, bank, search; resumed when its name is used again."""

from dataclasses import dataclass, replace

from ray.tune.schedulers import FIFOScheduler

from xlite.config import flatten
from xlite.console import Console
from xlite.device import device_kind
from xlite.distill.bank import Bank
from xlite.errors import InputError, SpaceError
from xlite.ledger import Ledger, TrialRecord, best_of, claim, pair
from xlite.storage.locks import locked
from xlite.study.board import show_views, update_leaderboard, update_runs
from xlite.study.footprints import gpu_sharing
from xlite.study.job import Job, TrialFolders
from xlite.study.manifest import (
    OPEN,
    check_comparable,
    check_same,
    immutable_settings,
    metric_metadata,
    write_study,
)
from xlite.study.members import promotion_seconds
from xlite.study.plan import StudyPlan
from xlite.study.promotion_size import promotion_choices
from xlite.study.rungs import expected_epochs
from xlite.study.teacher import StudyTeacher, obtain_bank, obtain_teacher, tell_what_it_has_seen
from xlite.study.time_budget import TimeBudget
from xlite.study.view import Pace, SearchView, where_time_went
from xlite.study.warm_start import warm_up
from xlite.tasks.prepare import Prepared
from xlite.tune.asha import ResumableASHA
from xlite.tune.deadline import Deadline
from xlite.tune.execute import run_trials
from xlite.tune.search import LedgerSearch

ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class StudyResult:
    """What a search left behind.

    Attributes:
        teacher: None where no trial needed one.
        winner: the best trial by the leaderboard's rule, of several objectives the knee of the front; None when nothing
            was completed or stopped.
        num_interrupted: trials that Ctrl-C cut off; the same command continues.
        num_left: trials that the time budget cut off or did not let start; the same command runs them.
    """

    ledger: Ledger
    teacher: StudyTeacher | None
    winner: TrialRecord | None
    num_interrupted: int
    num_left: int


def run_study(plan: StudyPlan, prepared: Prepared, console: Console, time_budget: TimeBudget) -> StudyResult:
    """Train or load the teacher, build or open its bank, and run the trials that are still missing.

    Raises:
        InputError: the study exists with other settings, another process runs it, or the search cannot go on.
    """
    options = plan.study.options
    try:
        with locked(options.folder, waiting=None):
            return _run(plan, prepared, console, time_budget)
    except BlockingIOError:
        raise InputError(
            f"study {options.root.name}: another process runs it; let it end, or choose another --study"
        ) from None


def _run(plan: StudyPlan, prepared: Prepared, console: Console, time_budget: TimeBudget) -> StudyResult:
    study = plan.study
    options, candidates = study.options, plan.candidates
    settings = immutable_settings(plan, prepared)
    searched = options.phase == "search"
    check_comparable(options.folder / "baselines" if searched else options.root, settings)
    accepted = {"space": (*candidates.space.earlier_hashes, OPEN)}
    check_same(options.folder, settings, accepted)  # before a teacher is trained for nothing
    identity = pair(options.root, options.folder, options.storage, name=options.name, settings=settings)
    if plan.distils:
        tell_what_it_has_seen(options.teacher, prepared.full, console)
    teacher = obtain_teacher(study, prepared.full, console) if plan.distils else None
    settings["teacher"] = teacher.teacher.key if teacher else None
    check_same(options.folder, settings, accepted)
    write_study(plan, prepared, teacher, identity=identity, immutable=settings)
    bank = obtain_bank(study, teacher.teacher, prepared.search, console) if teacher else None
    with Ledger.open(
        options.storage,
        options.name,
        create=True,
        phase=options.phase,
        seed=options.seed,
        metadata={**settings, "config": flatten(study.base), **metric_metadata(study.task)},
        on_wait=console.say,
    ) as ledger:  # its lock is for the search alone; promotions are recorded without
        claim(ledger, identity, options.root)
        if ledger.objectives:
            candidates.recall(ledger.rows())
        if not ledger.rows():
            warm_up(ledger, candidates, console)
        elif options.warm_start:
            begun = f"{options.root.name} has begun already; it continues without"
            console.say(f"--warm-start {options.warm_start}: {begun}")
        job = _job(plan, prepared, bank)

        def promotion_s() -> float:
            if (best := ledger.best()) is None:
                return 0.0
            sizes = promotion_choices(options.promote_top, options.promote_seeds, num_trials=plan.num_trials)
            top, num_seeds = sizes[-1]
            return top * promotion_seconds(study, prepared, best, num_folds=options.num_folds, num_seeds=num_seeds)

        deadline = Deadline(time_budget, promotion_s)
        try:
            num_interrupted, num_left = _search(plan, ledger, job, deadline, console)
        except SpaceError:
            open_settings = {**settings, "space": OPEN}  # the file is to be changed
            write_study(plan, prepared, teacher, identity=identity, immutable=open_settings)
            raise
        return StudyResult(ledger, teacher, ledger.best(), num_interrupted, num_left)


def _job(plan: StudyPlan, prepared: Prepared, bank: Bank | None) -> Job:
    """What all trials share, but for the GPU, which is divided when they start."""
    study, options = plan.study, plan.study.options
    return Job(
        task=options.task,
        kind=study.task.target_spec.kind,
        dataset=prepared.search,
        bank=bank,
        folders=TrialFolders(options.folder, plan.rungs),
        device_kind=device_kind(),
        pause_s=options.pause_s,
        hang_limit_s=options.hang_limit_s,
        origins=study.origins,
    )


def _search(plan: StudyPlan, ledger: Ledger, job: Job, deadline: Deadline, console: Console) -> tuple[int, int]:
    """Run the trials that are still wanted; returns how many Ctrl-C cut off, and how many the time budget left."""
    study, candidates = plan.study, plan.candidates
    ledger.queue(candidates.space.first)  # an earlier process may have been killed before it queued all
    ended = [row for row in ledger.rows() if row.state in ENDED and not row.left_out]
    num_wanted = plan.num_trials - len(ended)
    asha = ResumableASHA(study.options.max_epochs, plan.grace_epochs, ledger.objectives) if plan.grace_epochs else None
    if asha is not None:
        asha.replay({row.number: row.curve for row in ended}, {row.number: row.cost for row in ended})
    update_runs(plan, job.folders, ended)
    show_views(plan, job.dataset)
    view = _view(plan, ledger, len(ended), console)
    search = LedgerSearch(ledger, candidates, job.folders, asha, view, num_trials=num_wanted)
    search.deadline = deadline
    if ended or search.unfinished:
        resumed = len(search.unfinished)
        from_checkpoint = f", {resumed} of them from their last epoch" if resumed and num_wanted > 0 else ""
        console.say(
            f"Continuing {study.options.root.name}: {len(ended)} trials are there, {max(0, num_wanted)} to go"
            f"{from_checkpoint}"
        )
    if num_wanted > 0 and not search.is_held_back:
        with gpu_sharing(study.options, candidates.shares, plan.footprints, console) as (shares, sharing), view:
            search.candidates = replace(candidates, shares=shares)
            job = replace(job, sharing=sharing)
            run_trials(job, search, asha or FIFOScheduler(), shares=shares, options=study.options)
    if deadline.is_over and search.failure is not None:  # the ledger is out of reach
        raise search.failure
    update_leaderboard(ledger, study)
    console.say(where_time_went(ledger.rows()))
    if search.failure is not None:
        raise search.failure
    if search.exhausted:
        console.say(f"Nothing new is left to try: {len(search.tried)} distinct configurations are all of this space")
    if search.running and not deadline.has_stopped:
        return len(search.running), 0
    return 0, len(search.running) + search.remaining if deadline.has_stopped or search.is_held_back else 0


def _view(plan: StudyPlan, ledger: Ledger, num_ended: int, console: Console) -> SearchView:
    best = best_of(ledger.rows())
    max_epochs = plan.study.options.max_epochs
    pace = Pace(plan.num_trials, num_ended, max_epochs, expected_epochs(max_epochs, plan.grace_epochs))
    return SearchView(
        console,
        pace,
        metric=plan.study.task.metric,
        write_leaderboard=lambda: update_leaderboard(ledger, plan.study),
        best=best.value if best and best.state == "complete" else None,
    )
