"""A calibration fitted on validation; of no map, a temperature and Platt's, the one that cross-fits best."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression

from xlite.metrics.calibration import Calibration, Method, log_probabilities, logits_of
from xlite.metrics.decisions import fold_of_rows

LEAST_POSITIVES = 10
_GRID = 20.0
_LOG_SLOPES = (-5.0, 5.0)  # temperatures from 0.007 to 148

Line = tuple[float, float]
"""Slope and intercept of a map of logits."""
Fit = Callable[[np.ndarray, np.ndarray], Line]
"""(logits, truth) -> slope and intercept."""
Loss = Callable[[np.ndarray, np.ndarray], float]
"""(logits, truth) -> summed log loss."""
Chosen = tuple[Method, Line, dict[int, Line]]
"""A method, its map as fitted on all rows, and as fitted outside of each fold."""
_AS_IT_IS: Chosen = ("none", (1.0, 0.0), {})


def fit_calibration(
    probs: np.ndarray, targets: np.ndarray, labels: Sequence[str], groups: np.ndarray, *, exclusive: bool
) -> tuple[Calibration, np.ndarray]:
    """Choose a map for each label by itself, or a temperature for all classes, and fit it on all rows.

    The log loss on folds that a map was not fitted on decides; of equally good ones the simplest is taken. Folds are
    of whole groups (`fold_of_rows`). A map whose slope is not above 0 is refused, and a label's that makes scores equal
    that differed, here or nearby (`_keeps_apart`). A label with fewer than LEAST_POSITIVES positives or negatives, or
    without either outside of a fold, stays as it is; so do classes if fewer rows than that are outside of the most
    frequent one.

    Args:
        probs: (N, L) in [0, 1]; of classes (N, ..., L).
        targets: of the same shape, NaN is unknown; of classes one-hot.
        labels: the L names.
        groups: (N,) the group (patient) of each row.
        exclusive: whether labels are classes.

    Returns:
        The calibration, and the (N, ..., L) probabilities of the chosen maps, each as fitted on the other folds.
    """
    probs, folds = np.asarray(probs, dtype=np.float64), fold_of_rows(groups)
    return (_fit_classes if exclusive else _fit_labels)(probs, np.asarray(targets), tuple(labels), folds)


def _fit_labels(
    probs: np.ndarray, targets: np.ndarray, labels: tuple[str, ...], folds: np.ndarray
) -> tuple[Calibration, np.ndarray]:
    methods: list[Method] = []
    lines, few, crossed = [], [], probs.copy()
    for i, name in enumerate(labels):
        known = ~np.isnan(targets[:, i])
        truth, fold = targets[known, i] == 1, folds[known]
        method, line, by_fold = _AS_IT_IS
        if _enough(truth, fold):
            fits: dict[Method, Fit] = {
                "temperature": _temperature(_label_loss, lambda logits: logits > 0),
                "platt": _platt,
            }
            method, line, by_fold = _choose(logits_of(probs[known, i]), truth, fold, fits, _label_loss)
            if not _keeps_apart(probs[known, i], _of_one(name, method, line)):
                method, line, by_fold = _AS_IT_IS
            for number, other in by_fold.items():
                rows = folds == number
                crossed[rows, i] = _of_one(name, method, other).apply(probs[rows, i, None])[:, 0]
        else:
            few.append(name)
        methods.append(method)
        lines.append(line)
    note = f"not calibrated, fewer than {LEAST_POSITIVES} positives or negatives, or of too few patients: "
    notes = (note + ", ".join(few),) if few else ()
    slopes, intercepts = zip(*lines, strict=True)
    return Calibration(labels, tuple(methods), slopes, intercepts, notes=notes), crossed


def _fit_classes(
    probs: np.ndarray, targets: np.ndarray, labels: tuple[str, ...], folds: np.ndarray
) -> tuple[Calibration, np.ndarray]:
    flat = targets.reshape(-1, len(labels))
    known = ~np.isnan(flat).any(axis=1)
    fold = np.repeat(folds, len(flat) // len(folds))[known]
    truth, crossed = flat[known].argmax(axis=1), probs.copy()
    if not _enough(truth != np.bincount(truth, minlength=1).argmax(), fold):
        note = f"not calibrated: fewer than {LEAST_POSITIVES} rows, or of too few patients, outside the commonest class"
        return Calibration.identity(labels, exclusive=True, notes=(note,)), crossed
    log_p = log_probabilities(probs.reshape(-1, len(labels))[known])
    fits: dict[Method, Fit] = {"temperature": _temperature(_class_loss, lambda logits: logits.argmax(axis=1))}
    method, line, by_fold = _choose(log_p, truth, fold, fits, _class_loss)

    def calibration(slope: float) -> Calibration:
        num = len(labels)
        return Calibration(labels, (method,) * num, (slope,) * num, (0.0,) * num, exclusive=True)

    for number, (slope, _) in by_fold.items():
        crossed[folds == number] = calibration(slope).apply(probs[folds == number])
    return calibration(line[0]), crossed


def _choose(logits: np.ndarray, truth: np.ndarray, fold: np.ndarray, fits: dict[Method, Fit], loss: Loss) -> Chosen:
    """The best of no map and `fits`, which are in the order of their complexity: as fitted on all, and by fold."""
    numbers = np.unique(fold).tolist()
    best, lowest = _AS_IT_IS, loss(logits, truth)
    for method, fit in fits.items():
        line, by_fold = fit(logits, truth), {k: fit(logits[fold != k], truth[fold != k]) for k in numbers}
        if any(slope <= 0 for slope, _ in (line, *by_fold.values())):
            continue
        held_out = sum(loss(a * logits[fold == k] + b, truth[fold == k]) for k, (a, b) in by_fold.items())
        if held_out < lowest:
            best, lowest = (method, line, by_fold), held_out
    return best


def _enough(truth: np.ndarray, fold: np.ndarray) -> bool:
    """Whether there are enough of both classes, and some of both outside of every fold."""
    if min(truth.sum(), (~truth).sum()) < LEAST_POSITIVES:
        return False
    return all(0 < truth[fold != k].sum() < (fold != k).sum() for k in np.unique(fold))


def _keeps_apart(probs: np.ndarray, calibration: Calibration) -> bool:
    """Whether (M, 1) probabilities that differ still do in float64, in the same order.

    Also those of a grid, since other images get other scores: logits up to twice the largest here, 20 at most.
    """
    reach = min(_GRID, 2 * float(np.abs(logits_of(probs)).max()))
    each = (np.unique(probs), np.unique(expit(np.linspace(-reach, reach, 401))))
    return all((np.diff(calibration.apply(scores[:, None])[:, 0]) > 0).all() for scores in each)


def _of_one(label: str, method: Method, line: Line) -> Calibration:
    return Calibration((label,), (method,), (line[0],), (line[1],))


def _temperature(loss: Loss, guess: Callable[[np.ndarray], np.ndarray]) -> Fit:
    """The slope, 1 / temperature, with the lowest log loss; 0 where every guess is right: there a lower temperature is
    always better, and would make all answers certain."""

    def fit(logits: np.ndarray, truth: np.ndarray) -> Line:
        if (guess(logits) == truth).all():
            return 0.0, 0.0
        found = minimize_scalar(
            lambda log_slope: loss(np.exp(log_slope) * logits, truth),
            bounds=_LOG_SLOPES,
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(np.exp(found.x)), 0.0

    return fit


def _platt(logits: np.ndarray, truth: np.ndarray) -> Line:
    """Logistic regression on Platt's targets, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), which keep it finite where no score
    is on the wrong side (Platt 1999; Lin et al. 2007): each row counts as a positive and as a negative, by weight."""
    num_positive, num_negative = truth.sum(), (~truth).sum()
    weight = np.where(truth, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    rows, answers = np.tile(logits, 2)[:, None], np.repeat([1, 0], len(logits))
    model = LogisticRegression(C=1e10, solver="newton-cholesky", tol=1e-9)
    model.fit(rows, answers, sample_weight=np.concatenate([weight, 1 - weight]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _label_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(truth, -logits, logits)).sum())


def _class_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(truth)), truth].sum())
