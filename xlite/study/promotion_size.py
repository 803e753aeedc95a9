"""How many trials are trained again before one is promoted, and with how many seeds each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from xlite.errors import InputError
from xlite.ledger import TrialRecord, ranking_key
from xlite.report.sections import counted
from xlite.study.members import promotion_seconds
from xlite.study.options import Study
from xlite.tasks.prepare import Prepared

MOST = 3
"""Trials, and seeds of each, where nothing is asked."""
WORKER_START_S = 60.0
"""At most of a trial's time beside its own seconds."""


@dataclass(frozen=True)
class PromotionSize:
    """What a promotion trains.

    Attributes:
        trials: best first.
        num_seeds: of each.
        seconds: expected.
        searched_s: the search's own time, the most that is spent where nothing is asked.
    """

    trials: tuple[TrialRecord, ...]
    num_seeds: int
    seconds: float
    searched_s: float

    def describe(self) -> str:
        """One line for a person."""
        trials = ", ".join(str(trial.number) for trial in self.trials)
        which = f"trial {trials}" if len(self.trials) == 1 else f"the best {len(self.trials)} trials ({trials})"
        return (
            f"Promotion: {which}, trained with {counted(self.num_seeds, 'seed')}, about {self.seconds:.0f} s (the "
            f"search took {self.searched_s:.0f} s; --promote-top and --promote-seeds change this)"
        )


def promotion_size(
    study: Study,
    prepared: Prepared,
    rows: Sequence[TrialRecord],
    *,
    num_folds: int,
    limit_s: float,
    top: int | None,
    num_seeds: int | None,
) -> PromotionSize:
    """The trials to train again: as many of `MOST` by `MOST` as fit into the search's own time, but what is asked.

    Several trials are never compared by one seed each: between equally good configurations a difference of single seeds
    looks significant in a third of all cases or more (`benchmarks/trust.py`). One trial is trained with several seeds
    only if that is asked, since it changes no choice.

    Args:
        rows: that may be promoted; those without a value are passed over.
        limit_s: seconds that are left, if fewer than the search's own.
        top, num_seeds: as asked; None: as many as fit.

    Raises:
        InputError: `top` is more than the trials there are, or trials are to be compared by one seed.
    """
    ranked = sorted((row for row in rows if row.state in ("complete", "pruned")), key=ranking_key)
    ranked = [row for place, row in enumerate(ranked) if place == 0 or _can_be_trained(study, row)]
    if top is not None and top > len(ranked):
        raise InputError(f"--promote-top {top}: there are only {counted(len(ranked), 'trial')} with a value")
    check_size(top, num_seeds)
    searched_s = search_seconds(rows)
    sizes = []
    for k, s in promotion_choices(top, num_seeds, num_trials=len(ranked)):
        seconds = sum(promotion_seconds(study, prepared, row, num_folds=num_folds, num_seeds=s) for row in ranked[:k])
        sizes.append(PromotionSize(tuple(ranked[:k]), s, seconds, searched_s))
    return next((size for size in sizes if size.seconds <= min(searched_s, limit_s)), sizes[-1])


def promotion_choices(top: int | None, num_seeds: int | None, *, num_trials: int) -> list[tuple[int, int]]:
    """How many of `num_trials` may be trained again and with how many seeds each, the most models first.

    See `promotion_size`.
    """
    if num_seeds == 1:
        top = 1
    tops = [top] if top else range(min(MOST, num_trials), 0, -1)
    seeds = [num_seeds] if num_seeds else range(MOST, 0, -1)
    pairs = [(k, s) for k in tops for s in seeds if (k > 1) == (s > 1)] or [(tops[0], seeds[0])]
    return sorted(pairs, key=lambda pair: (-pair[0] * pair[1], -pair[1]))


def check_size(top: int | None, num_seeds: int | None) -> None:
    """Raises InputError where several trials are to be compared by one seed each."""
    if num_seeds == 1 and top is not None and top > 1:
        raise InputError(f"--promote-top {top}: one seed each does not tell trials apart; give --promote-seeds 2")


def _can_be_trained(study: Study, row: TrialRecord) -> bool:
    """Whether this version still knows all keys and values of a trial."""
    try:
        study.base.override(row.overrides, source=f"trial {row.number}")
    except InputError:
        return False
    return True


def search_seconds(rows: Sequence[TrialRecord]) -> float:
    """How long trials ran, those at the same time counted once.

    One that was interrupted may have waited for days: it counts for its own seconds, and the start of a worker.
    """
    spans = sorted(
        (max(row.started, row.finished - timedelta(seconds=row.summary.seconds + WORKER_START_S)), row.finished)
        for row in rows
        if row.started and row.finished
    )
    total, until = 0.0, None
    for started, finished in spans:
        begin = started if until is None else max(started, until)
        if finished > begin:
            total, until = total + (finished - begin).total_seconds(), finished
    return total
