"""Calibration: a monotone map of each label's probabilities, and how well probabilities agree with what is observed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit, log_softmax, logit, softmax

Method = Literal["none", "temperature", "platt"]
NUM_BINS = 15
_LARGEST_LOGIT = 40.0  # float64 keeps probabilities apart up to about 37; 0 and 1 come to lie beyond that


@dataclass(frozen=True)
class Calibration:
    """Calibrated logits are `slope * logit + intercept`, label by label; of classes, `slope * log p`, then softmax.

    Attributes:
        labels: L names.
        methods: of each label. "none" leaves its probabilities as they are, to the last bit.
        slopes: above 0, so that ranks within a label stay; 1 / temperature. All alike for classes.
        intercepts: 0 but for "platt".
        exclusive: whether labels are classes, whose probabilities sum to 1.
        notes: one line per reason why labels were left as they are.
    """

    labels: tuple[str, ...]
    methods: tuple[Method, ...]
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    exclusive: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.methods) == len(self.slopes) == len(self.intercepts):
            raise ValueError(f"{len(self.labels)} labels need as many methods, slopes and intercepts")
        if not all(0 < slope < np.inf for slope in self.slopes) or not np.isfinite(self.intercepts).all():
            raise ValueError(f"slopes are above 0 and all is finite, got {self.slopes} and {self.intercepts}")
        if unknown := set(self.methods) - set(get_args(Method)):
            raise ValueError(f"methods are {', '.join(get_args(Method))}, got {unknown.pop()!r}")

    @classmethod
    def identity(cls, labels: Sequence[str], *, exclusive: bool = False, notes: tuple[str, ...] = ()) -> "Calibration":
        """The one that leaves all probabilities as they are."""
        none: Method = "none"
        num = len(labels)
        return cls(tuple(labels), (none,) * num, (1.0,) * num, (0.0,) * num, exclusive, notes)

    def apply(self, probs: np.ndarray) -> np.ndarray:
        """(..., L) float64 calibrated probabilities of (..., L) probabilities in [0, 1]."""
        probs = np.asarray(probs, dtype=np.float64)
        assert probs.shape[-1] == len(self.labels), (probs.shape, self.labels)
        mapped = np.array(self.methods) != "none"
        if not mapped.any():
            return probs
        if self.exclusive:
            return softmax(np.array(self.slopes) * log_probabilities(probs), axis=-1)
        calibrated = expit(np.array(self.slopes) * logits_of(probs) + np.array(self.intercepts))
        return np.where(mapped, calibrated, probs)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`, also after a round trip through JSON.

        Raises:
            KeyError, TypeError, ValueError: these are not the values of a calibration.
        """
        names = ("labels", "methods", "slopes", "intercepts", "notes")
        return cls(**{name: tuple(values[name]) for name in names}, exclusive=bool(values["exclusive"]))


def logits_of(probs: np.ndarray) -> np.ndarray:
    """Finite logits of probabilities in [0, 1]."""
    with np.errstate(divide="ignore"):
        return np.clip(logit(np.asarray(probs, dtype=np.float64)), -_LARGEST_LOGIT, _LARGEST_LOGIT)


def log_probabilities(probs: np.ndarray) -> np.ndarray:
    """Finite logarithms of class probabilities in [0, 1], over the last axis."""
    return log_softmax(np.log(np.maximum(np.asarray(probs, dtype=np.float64), np.finfo(np.float64).tiny)), axis=-1)


def reliability_curve(
    probs: np.ndarray, truth: np.ndarray, *, bins: Literal["width", "mass"], num_bins: int = NUM_BINS
) -> list[dict[str, float]]:
    """What was predicted beside what was observed: a row for each bin with members, in ascending order.

    A bin holds the probabilities in (low, high]; the first also has its low edge. So 0 is in the first bin and 1 in the
    last, and every probability is in one.

    Args:
        probs: (N,) in [0, 1], N >= 1.
        truth: (N,) of 0 and 1.
        bins: "width": edges evenly from 0 to 1; "mass": edges at quantiles of `probs`. Equal edges make one bin.

    Returns:
        Rows of "low", "high", "mean_predicted", "observed" (the share that is 1) and "count".
    """
    probs, truth = np.asarray(probs, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    shares = np.linspace(0, 1, num_bins + 1)
    edges = shares if bins == "width" else np.quantile(probs, shares)
    bin_of = np.searchsorted(edges[1:-1], probs)
    count, predicted, observed = (np.bincount(bin_of, weights, num_bins) for weights in (None, probs, truth))
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "mean_predicted": float(predicted[i] / count[i]),
            "observed": float(observed[i] / count[i]),
            "count": int(count[i]),
        }
        for i in np.flatnonzero(count)
    ]


def expected_calibration_error(curve: Sequence[Mapping[str, float]]) -> float:
    """The mean over the rows judged of |mean predicted - observed| of their bin (ECE)."""
    gaps = [row["count"] * abs(row["mean_predicted"] - row["observed"]) for row in curve]
    return float(sum(gaps) / sum(row["count"] for row in curve))


def calibration_metrics(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[dict[str, float]]]]:
    """How well probabilities agree with what is observed; of classes, each against the rest.

    "ece" is of 15 bins of equal mass, which rare labels need; "ece_equal_width" of 15 bins of equal width, as most
    papers have it. "brier" is the mean squared error of the probability. Macro averages are over the labels that occur
    and are not always present.

    Args:
        probs, targets: (..., L); NaN is unknown.

    Returns:
        {"scalars": macro averages, "per_label": by label}, and the label's reliability curves in bins of equal mass.
        A label with no known value is absent.
    """
    flat_probs, flat_targets = (np.asarray(array).reshape(-1, len(labels)) for array in (probs, targets))
    per_label, curves, averaged = {}, {}, []
    for name, column, target in zip(labels, flat_probs.T, flat_targets.T, strict=True):
        known = ~np.isnan(target)
        if not known.any():
            continue
        p, truth = column[known], target[known]
        curves[name] = reliability_curve(p, truth, bins="mass")
        per_label[name] = {
            "brier": float(np.mean((p - truth) ** 2)),
            "ece": expected_calibration_error(curves[name]),
            "ece_equal_width": expected_calibration_error(reliability_curve(p, truth, bins="width")),
        }
        if 0 < truth.sum() < len(truth):
            averaged.append(per_label[name])
    scalars = {f"{metric}_macro": float(np.mean([row[metric] for row in averaged])) for metric in (averaged or [{}])[0]}
    return {"scalars": scalars, "per_label": per_label}, curves
