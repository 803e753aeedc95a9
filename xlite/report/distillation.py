"""Does distillation help, and how much do temperature and alpha matter?"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xlite.ledger import TrialRecord
from xlite.report.intervals import Estimate, difference_estimate, mean_estimate, shuffled_groups_p
from xlite.report.sections import Section, StudyRows, counted, markdown_table, not_enough

MIN_PAIRS = 5
"""Below this no pairs are judged: 4 differences of one sign happen by chance in 1 of 8 studies."""
MIN_GROUP = 5
"""Complete trials a group or a bin must have before its mean is compared."""
TEACHER_KEYS = ("distill.alpha", "distill.temperature")
"""What the two sides of a pair may differ in; distill.focal_weight works without a teacher too, so it must agree."""
_UNCERTAIN_P = 0.05


@dataclass(frozen=True)
class Pair:
    """One configuration with and without the teacher; several trials of a side are averaged."""

    with_teacher: tuple[TrialRecord, ...]
    without: tuple[TrialRecord, ...]

    @property
    def difference(self) -> float:
        """Mean value with the teacher minus mean value without."""
        return _mean(self.with_teacher) - _mean(self.without)


def pairs_of(study: StudyRows) -> list[Pair]:
    """The configurations that were completed with and without the teacher, equal in all keys but TEACHER_KEYS."""
    groups: dict[str, tuple[list[TrialRecord], list[TrialRecord]]] = {}
    for row in study.complete:
        taught = study.is_taught(row)
        if taught is None:
            continue
        rest = {key: value for key, value in study.config(row).items() if key not in TEACHER_KEYS}
        sides = groups.setdefault(json.dumps(rest, sort_keys=True), ([], []))
        sides[0 if taught else 1].append(row)
    return [Pair(tuple(taught), tuple(alone)) for taught, alone in groups.values() if taught and alone]


def distillation_section(study: StudyRows) -> Section:
    """The effect of the teacher: over pairs, and over all complete trials."""
    pairs = pairs_of(study)
    taught, alone = _sides(study)
    body = [
        "Pairs are configurations completed with a teacher and without (alpha 0), equal in every "
        "key that acts without one."
    ]
    paired = unpaired = None
    if len(pairs) >= MIN_PAIRS:
        paired = mean_estimate(np.array([pair.difference for pair in pairs]))
        body.append(f"Paired difference in {study.metric}: {paired}, {len(pairs)} pairs.")
    else:
        body.append(f"Paired: {not_enough(len(pairs), MIN_PAIRS, 'pair')}.")
    if pairs:
        body.append(markdown_table(("with", "without", "difference"), [_pair_cells(pair) for pair in pairs]))
    if min(len(taught), len(alone)) >= MIN_GROUP:
        unpaired = difference_estimate(taught, alone)
        body.append(
            f"Unpaired: {counted(len(taught), 'trial')} with a teacher (mean {taught.mean():.4f}) against {len(alone)} "
            f"without (mean {alone.mean():.4f}): {unpaired}. The two groups differ in other keys as well, which the "
            "search chose: this is an association, not an effect."
        )
    else:
        body.append(
            f"Unpaired: {not_enough(min(len(taught), len(alone)), MIN_GROUP, 'trial')} in each group "
            f"(with a teacher {len(taught)}, without {len(alone)})."
        )
    body.append(_left_out(study))
    return Section(
        "Does distillation help?", _verdict(paired, unpaired, len(pairs), len(taught), len(alone)), tuple(body)
    )


def _verdict(
    paired: Estimate | None, unpaired: Estimate | None, num_pairs: int, num_taught: int, num_alone: int
) -> str:
    if paired is not None:
        says = {1: "Yes: distillation raises", -1: "No: distillation lowers", 0: "Undecided: distillation changes"}
        return f"{says[paired.sign]} the value by {paired} (95% interval, {num_pairs} pairs)"
    have = f"{counted(num_pairs, 'pair')}, {counted(num_taught, 'trial')} with a teacher and {num_alone} without"
    if unpaired is None:
        return f"not enough trials: {have}; {MIN_PAIRS} pairs or {MIN_GROUP} of each kind needed"
    says = {1: "higher", -1: "lower", 0: "not distinguishable"}
    return (
        f"Not enough pairs for a verdict ({num_pairs} of {MIN_PAIRS}); unpaired, trials with a teacher are "
        f"{says[unpaired.sign]}: {unpaired} (95% interval, an association only)"
    )


@dataclass(frozen=True)
class Bin:
    """Trials whose parameter lies in one range, with their values (N,); `centre` is the parameter's median there."""

    name: str
    centre: float
    values: np.ndarray
    estimate: Estimate | None  # None below MIN_GROUP values


@dataclass(frozen=True)
class Sensitivity:
    """A parameter (N,), the values (N,) it went with, and both in bins."""

    key: str
    parameter: np.ndarray
    values: np.ndarray
    bins: tuple[Bin, ...]


def temperature_sensitivity(study: StudyRows) -> Sensitivity:
    """Values by temperature, in octaves, over trials that read it: with alpha above 0."""
    rows = [row for row in study.complete if study.config(row).get("distill.alpha")]
    return _sensitivity(study, rows, "distill.temperature", lambda t: math.floor(math.log2(t)), _octave)


def alpha_sensitivity(study: StudyRows) -> Sensitivity:
    """Values by alpha: 0 by itself, then quarters."""
    return _sensitivity(study, study.complete, "distill.alpha", lambda a: math.ceil(4 * round(a, 9)), _quarter)


def sensitivity_section(study: StudyRows, found: Sequence[Sensitivity], picture: str) -> Section:
    """Binned means of each parameter, and whether the bins differ more than chance makes them."""
    body, answers = [], []
    for sensitivity in found:
        answers.append(_answer(sensitivity))
        rows = [
            (bin.name, len(bin.values), f"{bin.values.mean():.4f}", _interval_cell(bin.estimate))
            for bin in sensitivity.bins
        ]
        if rows:
            body += [
                f"`{sensitivity.key}`",
                markdown_table(("range", "trials", f"mean {study.metric}", "95% interval"), rows),
            ]
    body.append(f"Intervals from {MIN_GROUP} trials on. The test shuffles values among trials of such bins.")
    return Section("How sensitive is it to temperature and alpha?", "; ".join(answers), tuple(body), picture)


def _answer(sensitivity: Sensitivity) -> str:
    name = sensitivity.key.partition(".")[2]
    judged = [bin for bin in sensitivity.bins if bin.estimate is not None]
    if len(judged) < 2:
        return f"{name}: not enough trials ({len(judged)} of 2 ranges with {MIN_GROUP} or more complete trials)"
    values = np.concatenate([bin.values for bin in judged])
    groups = np.repeat(np.arange(len(judged)), [len(bin.values) for bin in judged])
    p = shuffled_groups_p(values, groups)
    if p >= _UNCERTAIN_P:
        return f"{name}: no difference between ranges beyond chance (permutation p = {p:.2f}, {len(values)} trials)"
    best = max(judged, key=lambda bin: bin.values.mean())
    assert best.estimate is not None
    return (
        f"{name}: the ranges differ (permutation p = {p:.3f}, {len(values)} trials); highest in {best.name}: "
        f"{best.estimate.unsigned}"
    )


def _sensitivity(
    study: StudyRows,
    rows: Sequence[TrialRecord],
    key: str,
    bin_of: Callable[[float], int],
    name_of: Callable[[int], str],
) -> Sensitivity:
    having = [row for row in rows if study.config(row).get(key) is not None]
    parameter = np.array([study.config(row)[key] for row in having], dtype=np.float64)
    values = np.array([row.value for row in having], dtype=np.float64)
    numbers = np.array([bin_of(value) for value in parameter.tolist()], dtype=np.int64)
    bins = []
    for number in np.unique(numbers).tolist():
        inside = values[numbers == number]
        centre = float(np.median(parameter[numbers == number]))
        bins.append(Bin(name_of(number), centre, inside, mean_estimate(inside) if len(inside) >= MIN_GROUP else None))
    return Sensitivity(key, parameter, values, tuple(bins))


def _octave(number: int) -> str:
    return f"{2.0**number:g} to {2.0 ** (number + 1):g}"


def _quarter(number: int) -> str:
    return "0" if number == 0 else f"above {(number - 1) / 4:g} to {number / 4:g}"


def _interval_cell(estimate: Estimate | None) -> str:
    return "too few" if estimate is None else f"{estimate.low:.4f} to {estimate.high:.4f}"


def _sides(study: StudyRows) -> tuple[np.ndarray, np.ndarray]:
    """Values of complete trials with a teacher, and without."""
    known = [(study.is_taught(row), row.value) for row in study.complete]
    taught = [value for is_taught, value in known if is_taught]
    alone = [value for is_taught, value in known if is_taught is False]
    return np.array(taught, dtype=np.float64), np.array(alone, dtype=np.float64)


def _left_out(study: StudyRows) -> str:
    stopped = [study.is_taught(row) for row in study.rows if row.state == "pruned"]
    taught = stopped.count(True)
    return (
        f"Left out: {counted(len(stopped), 'stopped trial')} ({taught} with a teacher, {stopped.count(False)} without)"
        ", whose values belong to fewer epochs. Low values are stopped, so the "
        "rest is the better part of both."
    )


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    sides = (
        f"{_mean(side):.4f} (trial {', '.join(str(row.number) for row in side)})"
        for side in (pair.with_teacher, pair.without)
    )
    return (*sides, f"{pair.difference:+.4f}")


def _mean(rows: Sequence[TrialRecord]) -> float:
    return float(np.mean([row.value for row in rows if row.value is not None]))
