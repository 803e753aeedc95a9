"""The best trials trained again with several seeds, one of them chosen and promoted."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xlite.errors import InputError
from xlite.ledger import Ledger
from xlite.promotion.choose import Chosen, choose
from xlite.promotion.promote import Promotion, promote, promotion_identity
from xlite.promotion.reads import check_reads
from xlite.promotion.retrain import Candidate, retrain
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
    on_epoch: Callable[[int, EpochResult], None] | None = None,
) -> Promotion:
    """Train every candidate with every seed, choose one on validation (see `choose`), and promote that.

    Args:
        candidates: the best trials; one alone with one seed is promoted as it is.
        seeds: the first is that of the models that ship, fixed before anything is known of the others.
        folder: `promoted/` of the study, or one in it for a member of a front.
        retrained_in: where trainings are kept, one folder for each candidate and seed.
        on_epoch: called with how many trainings have ended, and the epoch of the one that runs.

    Raises:
        InputError: as `promote`.
    """
    one = candidates[0]
    if len(candidates) == len(seeds) == 1:
        return promote(
            one.config,
            task,
            one.members,
            ledger,
            winner=one.trial,
            folder=folder,
            threshold_method=threshold_method,
            again=again,
            on_epoch=on_epoch,
        )
    parts = [promotion_identity(each.config, each.members, each.trial, threshold_method) for each in candidates]
    identity = fingerprint([parts, list(seeds)])
    check_reads(ledger, identity, again=again)
    first = one.members[0].dataset
    if len(candidates) > 1 and len(np.unique(first.groups[first.part("val")])) < 2:
        raise InputError("validation has one patient alone, so that candidates cannot be compared; use --promote-top 1")
    try:
        with locked(retrained_in, waiting=None):
            retrained = retrain(candidates, seeds, task, folder=retrained_in, on_epoch=on_epoch)
    except BlockingIOError:
        raise InputError(f"{folder}: another process promotes there; wait for it") from None
    position, records = choose(retrained, task.target_spec, seed=one.config.train.seed)
    best = retrained[position]
    chosen = Chosen(
        identity=identity,
        seeds=tuple(seeds),
        records=tuple(records),
        other_seeds=tuple(each.folder for each in best.by_seed[1:]),
        seconds=sum(each.seconds for each in retrained),
    )
    return promote(
        best.candidate.config,
        task,
        best.shipped(),
        ledger,
        winner=best.candidate.trial,
        folder=folder,
        threshold_method=threshold_method,
        again=again,
        chosen=chosen,
    )
