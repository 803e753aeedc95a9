"""Before a search: what it will take of time, disk and memory, and whether this machine has that."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import numpy as np
import psutil

from xlite.config import RunConfig, flatten, identity_values
from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.distill.bank import PIXEL_BUDGET_BYTES
from xlite.errors import InputError
from xlite.gpu.probe import Footprint, footprint_key
from xlite.ledger import StudyManifest
from xlite.storage.files import read_json_object
from xlite.study.estimate import FORWARD, RUNNING_FILES, Estimate, epochs_s, gigabytes, trials_s
from xlite.study.plan import StudyPlan
from xlite.study.promotion_size import promotion_choices
from xlite.study.rungs import expected_epochs
from xlite.study.step_cost import StepCost, measure_step
from xlite.study.teacher import num_views
from xlite.tasks.prepare import Prepared


def foresee(plan: StudyPlan, prepared: Prepared, *, promotes: bool, num_searches: int = 1) -> list[str]:
    """Lines on what a new study takes, and on what this machine lacks of it; none of one that continues.

    Some steps of the slowest student and of the teacher are timed for it, about a second each.

    Args:
        promotes: whether this command promotes the winner.
        num_searches: such searches that the command runs, one for each outer fold.
    """
    options = plan.study.options
    if StudyManifest.read(options.folder) is not None:
        return []  # the search tells the time that is left
    try:
        estimate = _estimate(plan, prepared, promotes=promotes)
    except InputError:
        raise
    except Exception:  # memory that ran out, a loss of one's own; what cannot be trained says so when it is
        return []
    places = {options.folder: estimate.results_bytes, options.cache_dir: estimate.cache_bytes}
    lines = [estimate.describe(), *([estimate.describe_searches(num_searches)] if num_searches > 1 else [])]
    places = {place: num_searches * num_bytes for place, num_bytes in places.items()}
    return [*lines, *_short_of_disk(places), *_short_of_memory(estimate)]


def _estimate(plan: StudyPlan, prepared: Prepared, *, promotes: bool) -> Estimate:
    study, candidates, shares = plan.study, plan.candidates, plan.candidates.shares
    options, costs = study.options, candidates.costs
    own_bytes = psutil.Process().memory_info().rss  # of this process, with what a trial's imports too
    configs = [each for each in plan.configs if candidates.limits.broken_by(costs.of(each.model)) is None]
    slowest = max(configs, key=lambda config: _latency(plan, config))
    device = choose_device(study.base.train.precision)
    cost = measure_step(slowest, study.task, prepared.search, device)
    example_s = fmean(map(_time_of(plan, slowest, cost), configs))
    parts = {name: len(prepared.search.part(name)) for name in ("train", "val")}
    sizes = {"num_train": parts["train"], "num_val": parts["val"]}
    trial_s = epochs_s(example_s, num_epochs=expected_epochs(options.max_epochs, plan.grace_epochs), **sizes)
    num_trials, at_once = plan.num_trials, shares.max_concurrent
    most_at_once = shares.num_gpus if shares.gpus_per_trial else at_once  # of a GPU at worst one computes at a time
    limit_s = options.time_budget_s or math.inf
    fastest_s, slowest_s = (min(trials_s(trial_s, num_trials, n), limit_s) for n in (at_once, most_at_once))
    student_bytes = [1e6 * costs.of(each.model).size_mb for each in configs]
    results_bytes = num_trials * fmean(student_bytes) + at_once * RUNNING_FILES * max(student_bytes)
    promotion_s = (0.0, 0.0)
    if promotes:
        promotion_s = _promotion_s(example_s, plan, prepared, search_s=fastest_s)
        results_bytes += options.num_folds * options.num_repeats * max(student_bytes)
    teacher_s, cache_bytes = _teacher(plan, prepared) if plan.distils and not options.teacher_files else (0.0, 0.0)
    step_bytes = 0.0 if device.on_gpu else cost.peak_bytes(max(config.optim.batch_size for config in configs))
    search_s = (fastest_s, slowest_s)
    return Estimate(teacher_s, search_s, promotion_s, results_bytes, cache_bytes, at_once, own_bytes + step_bytes)


def _latency(plan: StudyPlan, config: RunConfig) -> float:
    return plan.candidates.costs.of(config.model).latency_ms or 1.0


def _time_of(plan: StudyPlan, slowest: RunConfig, cost: StepCost) -> Callable[[RunConfig], float]:
    """Seconds of a training example of a configuration: as probed, or from the slowest student's by their latencies."""

    def example_s(config: RunConfig) -> float:
        batch_size = config.optim.batch_size
        if plan.footprints:
            device = choose_device(config.train.precision)
            probed = plan.footprints.get(footprint_key(config, plan.candidates.shapes, device))
            if isinstance(probed, Footprint) and probed.fits:
                return probed.step_s / batch_size
        return cost.epoch_s(1, batch_size) * _latency(plan, config) / _latency(plan, slowest)

    return example_s


def _promotion_s(example_s: float, plan: StudyPlan, prepared: Prepared, *, search_s: float) -> tuple[float, float]:
    """At least and at most; a student that saw all the data for as long is not trained again with its own seed."""
    options, full = plan.study.options, prepared.full
    num_train, num_val = len(full.part("train")), len(full.part("val"))
    fold = (num_train + num_val) // options.num_folds
    parts = (num_train, num_val) if options.num_folds == 1 else (num_train + num_val - fold, fold)
    num_models = options.num_folds * options.num_repeats if options.num_folds > 1 else 1
    one_s = num_models * epochs_s(example_s, num_epochs=options.promote_epochs, num_train=parts[0], num_val=parts[1])
    is_there = options.num_folds == 1 and prepared.search is full and options.promote_epochs == options.max_epochs
    sizes = promotion_choices(options.promote_top, options.promote_seeds, num_trials=plan.num_trials)
    times_s = [one_s * num_trained * (num_seeds - is_there) for num_trained, num_seeds in sizes]
    return min(times_s), max(min(times_s), min(max(times_s), search_s))


def _teacher(plan: StudyPlan, prepared: Prepared) -> tuple[float, float]:
    """Seconds of the default teacher and of its bank, and their bytes on the disk; 0 s for a teacher that is there."""
    study, search, full = plan.study, prepared.search, prepared.full
    config = study.teacher_config()
    cost = measure_step(config, study.task, full, choose_device(study.base.train.precision))
    example_s = cost.epoch_s(1, config.optim.batch_size)
    sizes = {"num_train": len(full.part("train")), "num_val": len(full.part("val"))}
    views = num_views(study.options.max_epochs) * len(search.part("train"))
    seconds = epochs_s(example_s, num_epochs=config.train.epochs, **sizes) + FORWARD * example_s * views
    spec = search.input_spec
    pixels = views * math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
    bank = views * 2 * math.prod(full.targets.shape[1:])
    bank += pixels if pixels <= PIXEL_BUDGET_BYTES else 0
    is_there = _is_trained(config, full, study.options.cache_dir / "teachers")
    return (0.0, 0.0) if is_there else (seconds, bank + RUNNING_FILES * 4 * cost.num_params)


def _is_trained(config: RunConfig, dataset: Dataset, folder: Path) -> bool:
    """Whether an earlier study left this teacher, and with it most likely the bank."""
    wanted = identity_values(flatten(config))
    for file in folder.glob("*/teacher.json"):
        try:
            stored = read_json_object(file)
        except InputError:
            continue
        same_config = isinstance(stored.get("config"), dict) and identity_values(stored["config"]) == wanted
        if same_config and stored.get("split_hash") == dataset.split_hash:
            return True
    return False


def _short_of_disk(places: dict[Path, float]) -> list[str]:
    """A line for each disk with less room than what will be written to it."""
    needed: dict[int, tuple[Path, float]] = {}
    for place, num_bytes in places.items():
        there = next(path for path in (place, *place.parents) if path.exists())
        first, known = needed.get(there.stat().st_dev, (there, 0.0))
        needed[there.stat().st_dev] = first, known + num_bytes
    free = {disk: shutil.disk_usage(place).free for disk, (place, _) in needed.items()}
    return [
        f"The disk of {place} may not suffice: {gigabytes(free[disk])} are free, about {gigabytes(num_bytes)} are "
        "needed; trials wait while it is full"
        for disk, (place, num_bytes) in needed.items()
        if num_bytes > free[disk]
    ]


def _short_of_memory(estimate: Estimate) -> list[str]:
    available, num = psutil.virtual_memory().available, estimate.num_processes
    needed = num * estimate.process_bytes
    if needed <= available:
        return []
    fewer = "" if num == 1 else f"; --max-concurrent {max(1, int(available // estimate.process_bytes))} takes less"
    return [f"Memory may not suffice: {gigabytes(available)} are free, about {gigabytes(needed)} are needed{fewer}"]
