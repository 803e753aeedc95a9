"""How often a guarantee is missed, and what calibration gains, by simulation on scores whose truth is known.

Scores are binormal: a positive's logit is 2 higher on average. Validation and held-out patients are drawn anew each
time, as many of each. The true sensitivity and precision of a threshold follow from the normal distribution.

    python benchmarks/trust_guarantee.py --save
"""

import argparse
import json

import numpy as np
from common import RESULTS
from scipy.special import expit, logit
from scipy.stats import norm

from xlite.metrics.calibration import calibration_metrics
from xlite.metrics.calibration_fit import fit_calibration
from xlite.metrics.wanted import ScoredRows, Wanted, candidates, wanted_thresholds

SIZES, PREVALENCES = (50, 100, 200, 500, 1000), (0.02, 0.05, 0.1, 0.3)
METHODS = ("sensitivity=0.9", "precision=0.5")
DISTANCE = 2.0


def drawn(rng: np.random.Generator, num: int, prevalence: float) -> ScoredRows:
    """One image of each patient, with calibrated probabilities."""
    truth = rng.random(num) < prevalence
    shift = logit(prevalence) - DISTANCE**2 / 2
    probs = expit(DISTANCE * rng.normal(DISTANCE * truth, 1) + shift)  # log-odds of the two normal densities
    return ScoredRows(probs[:, None], truth[:, None].astype(float), np.arange(num))


def true_value(wanted: Wanted, threshold: float, prevalence: float) -> float:
    """Of new patients."""
    z = (logit(threshold) - logit(prevalence) + DISTANCE**2 / 2) / DISTANCE
    hits, false = prevalence * norm.sf(z - DISTANCE), (1 - prevalence) * norm.sf(z)
    return float(hits / prevalence if wanted.metric == "sensitivity" else hits / (hits + false))


def naive(wanted: Wanted, validation: ScoredRows) -> float | None:
    """The threshold that just reaches the target on validation; None if none does."""
    scores, truth = validation.of_label(0)
    if not truth.any():
        return None
    cuts = candidates(scores, truth)
    decided = scores >= cuts[:, None]
    value = (decided & truth).sum(axis=1) / (truth.sum() if wanted.metric == "sensitivity" else decided.sum(axis=1))
    reached = cuts[value >= wanted.target]
    return None if not len(reached) else float(reached.max() if wanted.metric == "sensitivity" else reached.min())


def guarantee(method: str, num: int, prevalence: float, num_replicates: int) -> dict[str, float | str | None]:
    """One row: how often there is a guarantee, how often it is false, and the same of the naive threshold."""
    wanted, rng = Wanted.named(method), np.random.default_rng([num, round(1000 * prevalence)])
    assert wanted is not None
    given, missed, naive_given, naive_missed = 0, 0, 0, 0
    for _ in range(num_replicates):
        validation, held_out = drawn(rng, num, prevalence), drawn(rng, num, prevalence)
        one = wanted_thresholds(wanted, validation, held_out, ("a",))[0]["a"]
        if one.basis == "guarantee":
            given += 1
            missed += true_value(wanted, one.threshold, prevalence) < wanted.target
        if (threshold := naive(wanted, validation)) is not None:
            naive_given += 1
            naive_missed += true_value(wanted, threshold, prevalence) < wanted.target
    return {
        "method": method,
        "patients": num,
        "prevalence": prevalence,
        "guaranteed": given / num_replicates,
        "missed": missed / num_replicates,
        "naive_missed": naive_missed / naive_given if naive_given else None,
    }


def calibration(num: int, prevalence: float, num_replicates: int) -> dict[str, float]:
    """One row: the true ECE of logits twice as large as they should be, before and after; on 20,000 new patients."""
    rng, before, after = np.random.default_rng(num), [], []
    for _ in range(num_replicates):
        sets = drawn(rng, num, prevalence), drawn(rng, 20_000, prevalence)
        probs, new = (expit(2 * logit(one.probs)) for one in sets)
        fitted, _ = fit_calibration(probs, sets[0].targets, ("a",), sets[0].groups, exclusive=False)
        for values, answers in ((before, new), (after, fitted.apply(new))):
            values.append(calibration_metrics(answers, sets[1].targets, ("a",))[0]["per_label"]["a"]["ece"])
    worse = float(np.mean(np.array(after) > np.array(before)))
    return {
        "patients": num,
        "prevalence": prevalence,
        "ece_before": float(np.mean(before)),
        "ece_after": float(np.mean(after)),
        "worse": worse,
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for method in METHODS:
        for num in SIZES:
            for prevalence in PREVALENCES:
                rows.append(guarantee(method, num, prevalence, arguments.replicates))
                print(rows[-1], flush=True)
    scaled = [calibration(num, share, arguments.replicates // 10) for num in SIZES[1:] for share in PREVALENCES[1:]]
    for row in scaled:
        print(row, flush=True)
    if arguments.save:
        values = {"replicates": arguments.replicates, "guarantee": rows, "calibration": scaled}
        (RESULTS / "trust_guarantee.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
