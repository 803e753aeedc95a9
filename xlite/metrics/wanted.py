"""Thresholds for a wanted sensitivity or precision; on held-out patients they come with a finite-sample guarantee."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xlite.metrics.thresholds import DEFAULT_THRESHOLD

CONFIDENCE = 0.9
_NUM_CANDIDATES = 100
_USED = {
    "estimate": f"its threshold is an estimate ({CONFIDENCE:.0%} confidence) from validation, which selection used",
    "observed": "at its threshold validation just reaches it, or comes closest",
}
Metric = Literal["sensitivity", "precision"]
Basis = Literal["guarantee", "estimate", "observed", "default"]


@dataclass(frozen=True)
class Wanted:
    """What a threshold is to reach, e.g. a sensitivity of 0.9."""

    metric: Metric
    target: float

    @classmethod
    def named(cls, method: str) -> "Wanted | None":
        """Of "sensitivity=0.9" or "precision=0.5"; None for other methods."""
        name, _, value = method.partition("=")
        return cls(name, float(value)) if name in ("sensitivity", "precision") else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScoredRows:
    """Probabilities and targets (N, L), and the group (patient) of each row (N,)."""

    probs: np.ndarray
    targets: np.ndarray
    groups: np.ndarray

    def of_label(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(M,) scores and bool truth of M groups: of each group its first row with a known target."""
        known = np.flatnonzero(~np.isnan(self.targets[:, number]))
        _, first = np.unique(self.groups[known], return_index=True)
        rows = known[first]
        return np.asarray(self.probs, dtype=np.float64)[rows, number], self.targets[rows, number] == 1


@dataclass(frozen=True)
class WantedThreshold:
    """A label's threshold, and what is known of it.

    Attributes:
        basis: "guarantee": with `confidence`, the metric of new patients is at least the target, from held-out
            patients; "estimate": the same computation on validation, which selection has used; "observed": validation
            just reaches the target, or comes closest; "default": validation has one class only.
        confidence: None for "observed" and "default".
        patients, positives: those that `basis` speaks of, one image each.
        held_out_positives: of the held-out patients; None if there are none.
    """

    threshold: float
    basis: Basis
    confidence: float | None
    patients: int
    positives: int
    held_out_positives: int | None

    def to_json(self, method: str, wanted: Wanted) -> dict[str, Any]:
        """JSON values, with what was asked for."""
        return {"method": method, "target": wanted.target, **vars(self)}


def wanted_thresholds(
    wanted: Wanted,
    validation: ScoredRows,
    held_out: ScoredRows | None,
    labels: Sequence[str],
    *,
    estimate: bool = True,
) -> tuple[dict[str, WantedThreshold], tuple[str, ...]]:
    """A threshold for each label by itself, from one image of each patient; and notes, one line per reason.

    Candidates lie between validation's scores. They are tested on held-out patients in the order of validation's
    p-values, each at 1 - CONFIDENCE, up to the first that fails (Learn then Test, arXiv 2110.01052, by MAPIE): so the
    guarantee holds for all of them at once. Of those that pass, a sensitivity takes the highest, a precision the
    lowest. Without held-out patients, or if none passes, the same is done on validation.

    Args:
        estimate: False: validation says nothing with confidence, e.g. since it was answered by other models than those
            that ship; it only shows where the target is reached.
    """
    found = {
        name: _wanted_threshold(wanted, validation.of_label(i), held_out.of_label(i) if held_out else None, estimate)
        for i, name in enumerate(labels)
    }
    return found, _notes(wanted, found)


def _wanted_threshold(
    wanted: Wanted,
    validation: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray] | None,
    estimate: bool,
) -> WantedThreshold:
    scores, truth = validation
    num_held = int(held_out[1].sum()) if held_out else None
    of_validation = (len(truth), int(truth.sum()), num_held)
    if not truth.any() or truth.all() or (cuts := candidates(scores, truth)).size == 0:
        return WantedThreshold(DEFAULT_THRESHOLD, "default", None, *of_validation)
    order = cuts[np.argsort(_tested(wanted, cuts, scores, truth).p_values[:, 0], kind="stable")]
    if held_out and num_held and (passed := _passing(wanted, order, *held_out)) is not None:
        return WantedThreshold(passed, "guarantee", CONFIDENCE, len(held_out[1]), num_held, num_held)
    if estimate and (passed := _passing(wanted, order, scores, truth)) is not None:
        return WantedThreshold(passed, "estimate", CONFIDENCE, *of_validation)
    return WantedThreshold(_observed(wanted, cuts, scores, truth), "observed", None, *of_validation)


def candidates(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Ascending thresholds halfway between neighbouring scores: some just below positives, some evenly over all rows.

    Args:
        scores: (N,).
        truth: (N,) bool, one at least true.
    """
    distinct = np.unique(scores)
    middles = distinct[:-1] + np.diff(distinct) / 2
    below = np.searchsorted(distinct, np.unique(scores[truth])) - 1
    places = [below[below >= 0], np.arange(len(middles))]
    thinned = [
        some[np.linspace(0, len(some) - 1, min(len(some), _NUM_CANDIDATES)).round().astype(int)] for some in places
    ]
    return middles[np.unique(np.concatenate(thinned))]


def _passing(wanted: Wanted, order: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> float | None:
    """The best of the thresholds that pass, tested in this order; None if none does."""
    valid = _tested(wanted, order, scores, truth).valid_predict_params
    return None if len(valid) == 0 else float(valid.max() if wanted.metric == "sensitivity" else valid.min())


def _tested(wanted: Wanted, thresholds: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> Any:
    """MAPIE's controller with the p-values of the thresholds, and those that pass when they are tested in order."""
    from mapie.risk_control import BinaryClassificationController, BinaryRisk, FWERProcedure  # seconds to import

    class InOrder(FWERProcedure):
        """Each is tested at the whole level, up to the first that fails; MAPIE's own turns the order by the data."""

        def _init_state(self, n_lambdas: int, delta: float) -> None:
            self.at, self.levels = 0, np.full(n_lambdas, delta)

        def _select_next_hypothesis(self, p_values: np.ndarray) -> int | None:
            return self.at if self.at < len(p_values) else None

        def _local_significance_levels(self) -> np.ndarray:
            return self.levels

        def _update_on_reject(self, hypothesis_index: int) -> None:
            self.at += 1

    # Of its own "recall" it takes 1 - hits / positives, which rounding turns into one more miss in a fifth of cases.
    wrong = BinaryRisk(
        lambda truth, decided: truth != decided,
        (lambda truth, _: truth == 1) if wanted.metric == "sensitivity" else (lambda _, decided: decided == 1),
        higher_is_better=False,
    )
    controller = BinaryClassificationController(
        lambda given: np.column_stack([1 - given, given]),
        wrong,
        1 - wanted.target,
        best_predict_param_choice="accuracy",  # of those that pass; the caller chooses otherwise
        confidence_level=CONFIDENCE,
        list_predict_params=thresholds,
        fwer_method=InOrder(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that none passes, or all: the caller says it
        return controller.calibrate(scores, truth)


def _observed(wanted: Wanted, cuts: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> float:
    """The highest cut with the wanted sensitivity, or the lowest with the wanted precision; else the nearest to it."""
    decided = scores >= cuts[:, None]
    hits = (decided & truth).sum(axis=1)
    value = hits / (truth.sum() if wanted.metric == "sensitivity" else decided.sum(axis=1))
    reached = np.flatnonzero(value >= wanted.target)
    if len(reached) == 0:
        return float(cuts[value.argmax()])
    return float(cuts[reached.max() if wanted.metric == "sensitivity" else reached.min()])


def _notes(wanted: Wanted, found: dict[str, WantedThreshold]) -> tuple[str, ...]:
    what = f"{wanted.metric} {wanted.target:g}"
    by_reason: dict[str, list[str]] = {}
    for name, one in found.items():
        if one.basis == "guarantee":
            continue
        if one.basis == "default":
            reason = f"threshold {DEFAULT_THRESHOLD}, since validation has one class or one score only"
        else:
            lacks, num = ("cannot be", one.held_out_positives) if one.held_out_positives is not None else ("is not", 0)
            reason = f"{what} {lacks} guaranteed with {num} held-out positives; {_USED[one.basis]}"
        by_reason.setdefault(reason, []).append(name)
    return tuple(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())
