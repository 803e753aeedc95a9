"""Every metric as a function of row weights, all resamples of a chunk at once; with weights of 1 it is the metric.

Weights are of the examples, (N,) or (R, N); a weight of k means the same as k copies of the row. What they leave
undefined is NaN; a label that they leave with one class is left out of the macro averages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xlite.metrics.classes import known_rows, log_likelihood, quadratic_kappa
from xlite.metrics.multilabel import ends_of_ties, row_ranking
from xlite.metrics.resampling import Weighted

Values = dict[str, np.ndarray]
_NAMES = ("auc", "pr_auc", "f1", "precision", "recall")


@dataclass(frozen=True)
class WeightedMetrics:
    """The metrics of one set of answers as functions of the weights of its N examples.

    Attributes:
        labels: the L names.
        values: weights -> averages by name, each (...), and labels' metrics by name, each (..., L).
        positive, negative: (N, L) how many known values of each example are positive or negative.
        sizes: of a share, by its name: how many observations it rests on if each is of a patient of its own, a number
            for an average, (L,) for the labels. What has none, and is in no `means`, is no share.
        means: average -> the labels' metric that it is the mean of, over the labels with both classes.
    """

    labels: Sequence[str]
    values: Callable[[np.ndarray], tuple[Values, Values]]
    positive: np.ndarray
    negative: np.ndarray
    sizes: Mapping[str, np.ndarray | float]
    means: Mapping[str, str]


def weighted_multilabel(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], decisions: Mapping[str, np.ndarray]
) -> WeightedMetrics:
    """Of `evaluate_multilabel`, and of `with_decisions`.

    Args:
        probs: (N, L) in [0, 1].
        targets: (N, L) of 0, 1 or NaN (unknown).
        decisions: ending of the metrics' names -> (N, L) bool, e.g. "_at_thresholds"; "" (at 0.5) is there in any case.
    """
    probs, targets = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    at_half = probs >= 0.5
    table = _Labels(probs, targets, {"": at_half, **decisions})
    known, truth = ~np.isnan(targets), targets == 1
    everything = table.together()
    wrong = ((at_half != truth) & known).sum(axis=1)
    complete = np.flatnonzero(known.all(axis=1) & truth.any(axis=1))
    by_row = row_ranking(probs[complete], truth[complete])

    def values(weights: np.ndarray) -> tuple[Values, Values]:
        scalars, per_label = table(weights)
        scalars |= {f"{name}_micro": value for name, value in everything(weights).items()}
        scalars["hamming"] = _ratio(weights @ wrong, weights @ known.sum(axis=1))
        for name, of_row in zip(("label_ranking_ap", "coverage"), by_row, strict=True):
            scalars[name] = _ratio(weights[..., complete] @ of_row, weights[..., complete].sum(axis=-1))
        return scalars, per_label

    of_labels = table.sizes()
    sizes = of_labels | {f"{name}_micro": float(np.nansum(of_labels[name])) for name in _NAMES}
    sizes |= {"hamming": float(known.sum()), "label_ranking_ap": float(len(complete))}
    positive, negative = truth.astype(int), (known & ~truth).astype(int)
    return WeightedMetrics(labels, values, positive, negative, sizes, table.means)


def weighted_classes(
    probs: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    decisions: Mapping[str, np.ndarray],
    *,
    class_weights: Sequence[float] | None = None,
    ordinal: bool = False,
) -> WeightedMetrics:
    """Of `evaluate_classes`, whose arguments these are; thresholds, and so `decisions`, there are none."""
    assert not decisions, "exclusive classes have no thresholds"
    classes = _Classes(probs, targets)
    flat_probs, flat_targets = known_rows(probs, targets)
    table = _Labels(flat_probs, flat_targets, {"": np.eye(len(labels), dtype=bool)[classes.guess]})
    log_p = log_likelihood(flat_probs, classes.truth)
    of_class = None if class_weights is None else np.asarray(class_weights, dtype=np.float64)[classes.truth]

    def values(weights: np.ndarray) -> tuple[Values, Values]:
        rows = classes.rows(weights)
        scalars, per_label = table(rows)
        total = rows.sum(axis=-1)
        scalars["accuracy"] = _ratio(rows @ classes.hits, total)
        scalars["balanced_accuracy"] = classes.balanced_accuracy(rows)
        scalars["log_loss"] = _ratio(-(rows @ log_p), total)
        if of_class is not None:
            scalars["weighted_log_loss"] = _ratio(-(rows @ (of_class * log_p)), rows @ of_class)
        if ordinal:
            scalars["kappa_quadratic"] = classes.kappa(rows)
        return scalars, per_label

    known = ~np.isnan(targets)
    parts = tuple(range(1, targets.ndim - 1))
    positive, negative = ((known & (targets == value)).sum(axis=parts) for value in (1, 0))
    sizes, means = table.sizes() | {"accuracy": float(len(log_p))}, table.means | {"balanced_accuracy": "recall"}
    return WeightedMetrics(labels, values, positive, negative, sizes, means)


def weighted_macro_auc(probs: np.ndarray, targets: np.ndarray) -> Weighted:
    """Macro ROC-AUC alone, of (N, L) probabilities and targets; see `weighted_multilabel`."""
    table = _Labels(np.asarray(probs), np.asarray(targets), {})
    return lambda weights: table(weights)[0]["auc_macro"]


def weighted_balanced_accuracy(probs: np.ndarray, targets: np.ndarray) -> Weighted:
    """Balanced accuracy alone, of (N, ..., K); NaN when fewer than two classes keep weight."""
    classes = _Classes(probs, targets)
    return lambda weights: classes.balanced_accuracy(classes.rows(weights))


class _Ranking:
    """ROC-AUC and average precision of one label with both classes, its rows sorted once.

    Between two neighbouring blocks of ties that hold a positive, only the sum of the weights counts; so a rare label
    costs one pass over its rows.
    """

    def __init__(self, scores: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> None:
        order = np.argsort(-scores)
        ends = ends_of_ties(scores[order]) + 1
        hits = np.flatnonzero(truth[order])
        blocks, self.first_hits = np.unique(np.searchsorted(ends, hits, side="right"), return_index=True)
        starts, stops = np.append(0, ends)[blocks], ends[blocks]
        bounds = np.unique(np.concatenate([[0], starts, stops]))
        self.starts, self.stops = np.searchsorted(bounds, starts), np.searchsorted(bounds, stops)
        self.bounds = bounds[bounds < len(order)]
        self.rows, self.hits = rows[order], rows[order][hits]

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = weights.T  # as patient_weights lays them out: the resamples of a row side by side
        sums = np.cumsum(np.add.reduceat(columns[self.rows], self.bounds, axis=0), axis=0)
        reached = np.concatenate([np.zeros_like(sums[:1]), sums])
        above, within, to_here = reached[self.starts], reached[self.stops] - reached[self.starts], reached[self.stops]
        hits = np.add.reduceat(columns[self.hits], self.first_hits, axis=0)
        positives = hits.sum(axis=0)
        # twice the pairs in wrong order, ties half; the positives among themselves would count positives^2
        lost = (hits * (2 * above + within)).sum(axis=0) - positives**2
        pairs = 2 * positives * (reached[-1] - positives)
        precision = np.cumsum(hits, axis=0) / np.where(to_here > 0, to_here, 1)
        return _ratio(pairs - lost, pairs), _ratio((hits * precision).sum(axis=0), positives)


class _Labels:
    """Each label's metrics and their macro averages: of `evaluate_labels`, for weights (..., M) of the rows."""

    def __init__(self, probs: np.ndarray, targets: np.ndarray, decisions: Mapping[str, np.ndarray]) -> None:
        self.probs, self.known, self.truth = probs, ~np.isnan(targets), targets == 1
        self.decided = {ending: decided & self.known for ending, decided in decisions.items()}
        num_positive, num_known = self.truth.sum(axis=0), self.known.sum(axis=0)
        self.defined = np.flatnonzero((num_positive > 0) & (num_positive < num_known))
        self.rankings = [self._ranking(np.flatnonzero(self.known[:, i]), i) for i in self.defined.tolist()]
        self.means = {f"{name}_macro": name for name in _NAMES[:2]}
        self.means |= {f"{name}_macro{ending}": f"{name}{ending}" for ending in decisions for name in _NAMES[2:]}

    def _ranking(self, rows: np.ndarray, label: int) -> _Ranking:
        return _Ranking(self.probs[rows, label], self.truth[rows, label], rows)

    def __call__(self, weights: np.ndarray) -> tuple[Values, Values]:
        positives, known = _sums(weights, self.truth), _sums(weights, self.known)
        both = ((positives > 0) & (positives < known))[..., self.defined]
        per_label = {name: np.full(positives.shape, np.nan) for name in ("auc", "pr_auc")}
        for label, ranking in zip(self.defined, self.rankings, strict=True):
            per_label["auc"][..., label], per_label["pr_auc"][..., label] = ranking(weights)
        for ending, decided in self.decided.items():
            of_labels = _decision_values(positives, _sums(weights, decided), _sums(weights, decided & self.truth))
            per_label |= {f"{name}{ending}": values for name, values in of_labels.items()}
        return {mean: _mean(per_label[name][..., self.defined], both) for mean, name in self.means.items()}, per_label

    def together(self) -> Callable[[np.ndarray], Values]:
        """All labels' entries as one: what the micro averages are of."""
        labels, rows = np.nonzero(self.known.T)
        ranking = _Ranking(self.probs[rows, labels], self.truth[rows, labels], rows)
        masks = (self.truth, self.decided[""], self.decided[""] & self.truth)
        counts = [mask.sum(axis=1) for mask in masks]

        def values(weights: np.ndarray) -> Values:
            auc, pr_auc = ranking(weights)
            return {"auc": auc, "pr_auc": pr_auc} | _decision_values(*(weights @ count for count in counts))

        return values

    def sizes(self) -> dict[str, np.ndarray]:
        """See `WeightedMetrics`; an AUC's is that of a share with the variance that Newcombe's method 5 gives it."""
        everything = np.ones(len(self.truth))
        auc = self(everything)[1]["auc"]
        positives, negatives = self.truth.sum(axis=0), (self.known & ~self.truth).sum(axis=0)
        spread = (1 - auc) / (2 - auc) + auc / (1 + auc)
        pairs = positives * negatives / (1 + ((positives + negatives) / 2 - 1) * spread)
        sizes = {"auc": pairs, "pr_auc": positives.astype(float)}
        for ending, decided in self.decided.items():
            predicted = decided.sum(axis=0)
            sizes[f"recall{ending}"] = positives.astype(float)
            sizes[f"precision{ending}"] = predicted.astype(float)
            sizes[f"f1{ending}"] = (predicted + positives) / 2
        return sizes


class _Classes:
    """The known rows of (N, ..., K) exclusive classes: which class they are, which is the most probable one."""

    def __init__(self, probs: np.ndarray, targets: np.ndarray) -> None:
        self.num_classes = targets.shape[-1]
        known = ~np.isnan(targets.reshape(-1, self.num_classes)).any(axis=1)
        parts = int(np.prod(targets.shape[1:-1], dtype=np.int64))
        self.example = np.repeat(np.arange(len(targets)), parts)[known]
        self.truth = targets.reshape(-1, self.num_classes)[known].argmax(axis=1)
        self.guess = probs.reshape(-1, self.num_classes)[known].argmax(axis=1)
        self.hits = (self.guess == self.truth).astype(np.float64)
        self.present = np.unique(self.truth)
        self.of_class = self.truth[:, None] == self.present

    def rows(self, weights: np.ndarray) -> np.ndarray:
        """(..., M) weights of the known rows."""
        return weights.T[self.example].T

    def balanced_accuracy(self, rows: np.ndarray) -> np.ndarray:
        """Mean recall over the classes that keep weight; NaN if fewer than two do."""
        total, right = _sums(rows, self.of_class), _sums(rows, self.of_class * self.hits[:, None])
        there = total > 0
        return np.where(there.sum(axis=-1) > 1, _mean(_ratio(right, total), there), np.nan)[()]

    def kappa(self, rows: np.ndarray) -> np.ndarray:
        """Quadratic kappa of the confusion matrices; NaN where no row keeps weight."""
        cell = self.truth * self.num_classes + self.guess
        observed = _sums(rows, cell[:, None] == np.arange(self.num_classes**2))
        kappa = quadratic_kappa(observed.reshape(*observed.shape[:-1], self.num_classes, self.num_classes))
        return np.where(observed.any(axis=-1), kappa, np.nan)[()]


def _decision_values(positives: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> Values:
    """As `f1_precision_recall`; NaN without a positive."""
    precision = hits / np.where(predicted > 0, predicted, 1)
    return {
        "f1": np.where(positives > 0, _ratio(2 * hits, predicted + positives), np.nan)[()],
        "precision": np.where(positives > 0, precision, np.nan)[()],
        "recall": _ratio(hits, positives),
    }


def _sums(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(..., L) summed weights of the rows in each column of a mask (M, L)."""
    return weights @ mask.astype(np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)[()]


def _mean(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over the last axis, of what is there; NaN where nothing is."""
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))
