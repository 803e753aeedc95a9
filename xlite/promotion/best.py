"""The best trials trained again with several seeds, one of them chosen and promoted."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xlite.errors import InputError
from xlite.ledger import Ledger
from xlite.promotion.choose import Chosen, choose
from xlite.promotion.promote import Promotion, promote, promotion_identity
from xlite.promotion.reads import check_reads
from xlite.promotion.retrain import Candidate, Retrained, count_once, retrain
from xlite.storage.files import fingerprint
from xlite.storage.locks import locked
from xlite.tasks.task import Task
from xlite.train.resumable import EpochResult


def promote_best(
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    task: Task,
    ledger: Ledger,
    *,
    folder: Path,
    retrained_in: Path,
    threshold_method: str = "f1",
    again: bool = False,
    latency_device: str | None = None,
    on_epoch: Callable[[int, EpochResult], None] | None = None,
) -> Promotion:
    """Train every candidate with every seed, choose one on validation (see `choose`), and promote that.

    Args:
        candidates: the best trials; one alone with one seed is promoted as it is.
        seeds: the first is that of the models that ship, fixed before anything is known of the others.
        folder: `promoted/` of the study, or one in it for a member of a front.
        latency_device: as of `promote`.
        retrained_in: where trainings are kept, one folder for each candidate and seed.
        on_epoch: called with how many trainings have ended, and the epoch of the one that runs.

    Raises:
        InputError: as `promote`.
    """
    best, members, chosen, retrained = candidates[0], candidates[0].members, None, []
    if len(candidates) > 1 or len(seeds) > 1:
        parts = [promotion_identity(each.config, each.members, each.trial, threshold_method) for each in candidates]
        identity = fingerprint([parts, list(seeds)])
        check_reads(ledger, identity, again=again)
        retrained = _retrained(candidates, seeds, task, retrained_in, on_epoch)
        position, records = choose(retrained, task.target_spec, seed=best.config.train.seed)
        of_best = retrained[position]
        chosen = Chosen(
            identity=identity,
            seeds=tuple(seeds),
            records=tuple(records),
            other_seeds=tuple(each.folder for each in of_best.by_seed[1:]),
            seconds=sum(each.seconds for each in retrained),
        )
        best, members = of_best.candidate, of_best.shipped()
    promotion = promote(
        best.config,
        task,
        members,
        ledger,
        winner=best.trial,
        folder=folder,
        threshold_method=threshold_method,
        again=again,
        chosen=chosen,
        latency_device=latency_device,
        on_epoch=None if chosen else on_epoch,
    )
    count_once(retrained)
    return promotion


def _retrained(
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    task: Task,
    place: Path,
    on_epoch: Callable[[int, EpochResult], None] | None,
) -> list[Retrained]:
    """The candidates, trained; alone in `place`.

    Raises:
        InputError: another process trains there, or there is one patient to compare them on.
    """
    dataset = candidates[0].members[0].dataset
    if len(candidates) > 1 and len(np.unique(dataset.groups[dataset.part("val")])) < 2:
        raise InputError("validation has one patient alone, so that trials cannot be compared; use --promote-top 1")
    try:
        with locked(place, waiting=None):
            return retrain(candidates, seeds, task, folder=place, on_epoch=on_epoch)
    except BlockingIOError:
        raise InputError(f"{place}: another process promotes there; wait for it") from None
