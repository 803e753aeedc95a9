"""How far X-Lite's intervals can be trusted: what they cost, what they cover, how often a difference is seen in vain.

    python benchmarks/trust.py speed --save                       # 1,000 resamples of a test part of NIH's size
    python benchmarks/trust.py coverage --patients 200 --save     # 1,000 drawn data sets
    python benchmarks/trust.py coverage --patients 2000 --replicates 500 --first 500 --save       # the second half
    python benchmarks/trust.py difference --save

Data are drawn from a model with known answers: 1 to 3 images a patient; label and score of a patient's images belong
together (a share of 0.7 and 0.5 of their variance is the patient's); scores of negatives are N(0, 1), those of
positives N(m, 1). Labels with 10 positives have exactly so many, the others so many on average. Decisions are at the
threshold that is best for F1 in truth. Each interval is of `--resamples` resamples; "misses" are the shares of data
sets whose interval lies above (low) or below (high) the truth. A coverage measured on 1,000 data sets is uncertain by
1.4 percentage points (95%).

The difference: two configurations that are equally good on average, with 1 to 5 seeds each, whose AUC varies from seed
to seed. p < 0.05 should come up in 5 of 100, and the interval cover 0 in 95.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, columns, machine, shown
from scipy.special import ndtr, ndtri

from xlite.metrics.differences import paired_difference
from xlite.metrics.intervals import LEAST_ROWS, drawn_values, intervals_of, metric_intervals
from xlite.metrics.resampling import resampled
from xlite.metrics.weighted import weighted_macro_auc, weighted_multilabel
from xlite.storage.files import read_json, write_json

LABELS = [(positives, auc) for positives in (10, 20, 50) for auc in (0.6, 0.8, 0.95)]
LABELS += [(3, 0.9), (4, 0.8), (6, 0.75), (7, 0.7), (30, 0.7)]
"""(positives, AUC) of the 14 labels of a data set; macro averages are over all that have both classes."""
METRICS = ("auc", "pr_auc", "f1_at_thresholds", "precision_at_thresholds", "recall_at_thresholds")
MEANS = tuple(name.partition("_at_")[0] + "_macro" + name[len(name.partition("_at_")[0]) :] for name in METRICS)
Rows = list[dict[str, Any]]


def speed(arguments: argparse.Namespace) -> Rows:
    """Seconds and memory of the bootstrap of macro AUC, and of every metric that an evaluation has."""
    rng = np.random.default_rng(0)
    num_rows, num_labels = (1000, 14) if arguments.quick else (16_818, 14)
    groups = rng.integers(num_rows // 4, size=num_rows)
    targets = (rng.random((num_rows, num_labels)) < np.geomspace(0.002, 0.2, num_labels)).astype(np.float32)
    probs = 1 / (1 + np.exp(-(rng.normal(size=targets.shape) + targets - 1)))
    rows = []
    started = time.perf_counter()
    resampled(weighted_macro_auc(probs, targets), groups, num_resamples=1000, seed=0)
    seconds = time.perf_counter() - started
    rows.append({"what": "macro AUC", "s": seconds, "goal, s": 20, "peak MB": _peak_mb()})
    started = time.perf_counter()
    metrics = weighted_multilabel(probs, targets, range(num_labels), {"_at_thresholds": probs > 0.3})
    found = metric_intervals(metrics, groups, num_resamples=1000, seed=0)
    seconds = time.perf_counter() - started
    num = len(found.scalars) + sum(map(len, found.per_label.values()))
    rows.append({"what": f"all {num} intervals", "s": seconds, "goal, s": 20, "peak MB": _peak_mb()})
    return rows


def coverage(arguments: argparse.Namespace) -> Rows:
    """Coverage of each label's and each average's interval, by the shipped method and by plain percentiles."""
    rows = []
    for num_patients in arguments.patients:
        drawn = Drawn(num_patients)
        truth = drawn.truth()
        hits: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for replicate in range(arguments.first, arguments.first + arguments.replicates):
            rng = np.random.default_rng([num_patients, replicate])
            metrics, groups = drawn.evaluated(rng)
            means, labels = values = drawn_values(metrics, groups, num_resamples=arguments.resamples, seed=replicate)
            shipped = intervals_of(metrics, groups, values)
            for name in MEANS:
                interval = shipped.scalars[name]
                if interval.low is None:
                    continue
                hits.setdefault(("macro", name, "shipped"), []).append((interval.low, interval.high))
                hits.setdefault(("macro", name, "percentile"), []).append(_percentiles(means[name]))
            for i, label in enumerate(metrics.labels):
                for name in METRICS:
                    interval = shipped.per_label[label].get(name)
                    if interval is not None and interval.low is not None:
                        hits.setdefault((label, name, "shipped"), []).append((interval.low, interval.high))
                        one = _percentiles(labels[name][:, i])
                        hits.setdefault((label, name, "percentile"), []).append(one)
        for (label, name, method), found in hits.items():
            low, high = np.array(found).T
            true = truth[label, name]
            above, below = float((low > true).mean()), float((high < true).mean())
            about = {"patients": num_patients, "label": label, "metric": name, "method": method, "truth": float(true)}
            misses = {"coverage": 1 - above - below, "misses low": above, "misses high": below}
            rows.append({**about, **misses, "width": float((high - low).mean()), "claimed": len(found)})
        print(f"{num_patients} patients: done", flush=True)
    return rows


class Drawn:
    """Data sets of one size with 14 labels, and the true values of their metrics."""

    def __init__(self, num_patients: int) -> None:
        self.num_patients, self.num_rows = num_patients, 2 * num_patients
        self.positives, self.aucs = (np.array(column) for column in zip(*LABELS, strict=True))
        self.shift = 2**0.5 * ndtri(self.aucs)
        self.rate = self.positives / self.num_rows
        self.names = [f"{positives} positives, AUC {auc:g}" for positives, auc in LABELS]
        self.at = np.linspace(-6, 10, 8001)[:, None]
        self.recall, false_positives = ndtr(self.shift - self.at), ndtr(-self.at)
        predicted = self.rate * self.recall + (1 - self.rate) * false_positives
        self.precision = self.rate * self.recall / predicted
        self.f1 = 2 * self.rate * self.recall / (predicted + self.rate)
        self.best = self.f1.argmax(axis=0)

    def truth(self) -> dict[tuple[str, str], float]:
        """(label or "macro", metric) -> value in the population; macro averages are over the labels that are drawn."""
        each = np.arange(len(self.names))
        pr_auc = -np.trapezoid(self.precision, self.recall, axis=0)
        values = [self.aucs, pr_auc, *(of[self.best, each] for of in (self.f1, self.precision, self.recall))]
        table = {
            (label, name): float(column[i])
            for name, column in zip(METRICS, values, strict=True)
            for i, label in enumerate(self.names)
        }
        return table | {("macro", mean): float(np.mean(v)) for mean, v in zip(MEANS, values, strict=True)}

    def evaluated(self, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
        """One data set's weighted metrics, and the patient of each row."""
        sizes = rng.permutation(np.resize([1, 2, 3], self.num_patients))
        sizes[:1] += self.num_rows - sizes.sum()
        groups = np.repeat(np.arange(self.num_patients), sizes)

        def of_patients(share: float) -> np.ndarray:
            of_patient, own = (rng.normal(size=(num, len(LABELS))) for num in (self.num_patients, len(groups)))
            return share**0.5 * of_patient[groups] + (1 - share) ** 0.5 * own

        liability = of_patients(0.7)
        truth = liability > ndtri(1 - self.rate)
        for i in np.flatnonzero(self.positives <= LEAST_ROWS):
            truth[:, i] = False
            truth[np.argsort(-liability[:, i])[: self.positives[i]], i] = True
        scores = of_patients(0.5) + self.shift * truth
        decided = scores >= self.at[self.best, 0]
        probs = ndtr(scores / 4)
        return weighted_multilabel(probs, truth.astype(float), self.names, {"_at_thresholds": decided}), groups


def difference(arguments: argparse.Namespace) -> Rows:
    """How often two equally good configurations are said to differ."""
    rows = []
    for num_seeds in (1, 2, 3, 5):
        for spread in (0.0, 0.15, 0.4):
            found = []
            for replicate in range(arguments.replicates):
                rng = np.random.default_rng([num_seeds, int(100 * spread), replicate])
                groups, truth = np.repeat(np.arange(200), 2), np.repeat(rng.random(200) < 0.3, 2)
                image = rng.normal(size=len(groups))
                sides = []
                for _ in range(2):
                    shifts = 1.2 + spread * rng.normal(size=num_seeds)
                    scores = [s * truth + 0.7 * image + 0.7 * rng.normal(size=len(groups)) for s in shifts]
                    sides.append([weighted_macro_auc(s[:, None], truth[:, None].astype(float)) for s in scores])
                done = paired_difference(*sides, groups, num_resamples=200, seed=replicate)
                found.append((done.p < 0.05, done.low > 0 or done.high < 0, done.high - done.low))
            seen, outside, width = np.mean(found, axis=0)
            about = {"seeds": num_seeds, "spread of d'": spread, "p < 0.05": float(seen)}
            rows.append({**about, "0 outside": float(outside), "width": float(width)})
    return rows


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = {"speed": speed, "coverage": coverage, "difference": difference}
    parser.add_argument("section", choices=list(sections))
    parser.add_argument("--patients", type=int, nargs="+", default=[200, 600, 2000])
    parser.add_argument("--replicates", type=int, default=1000, help="data sets drawn")
    parser.add_argument("--first", type=int, default=0, help="number of the first data set, for coverage in pieces")
    parser.add_argument("--resamples", type=int, default=400, help="of each data set")
    parser.add_argument("--quick", action="store_true", help="toy sizes: that it runs, not what it measures")
    parser.add_argument("--save", action="store_true", help="write the section into benchmarks/results/trust.json too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.patients, arguments.replicates, arguments.resamples = [100], 3, 20
    rows = sections[arguments.section](arguments)
    print("\n".join(columns([list(rows[0]), *([shown(value) for value in row.values()] for row in rows)])))
    if arguments.save:
        save(RESULTS / "trust.json", arguments, rows)


def save(file: Path, arguments: argparse.Namespace, rows: Rows) -> None:
    """Put a section's rows into the file; what was measured in pieces, by size and first data set, is put together."""
    stored = read_json(file) if file.exists() else {"benchmark": "trust", "sections": {}}
    about = {"machine": machine(), "resamples": arguments.resamples, "rows": rows}
    if arguments.section == "coverage":
        pieces = stored["sections"].get("coverage", {"pieces": {}})["pieces"]
        for patients in arguments.patients:
            piece = f"{patients} patients from {arguments.first}"
            pieces[piece] = [row for row in rows if row["patients"] == patients]
        about |= {"rows": together(pieces), "pieces": pieces}
    stored["sections"][arguments.section] = about
    write_json(file, stored)


def together(pieces: dict[str, Rows]) -> Rows:
    """Rows of the same setting as one, each weighted by how many intervals it is of."""
    found: dict[tuple[Any, ...], Rows] = {}
    for row in (row for rows in pieces.values() for row in rows):
        found.setdefault(tuple(row[key] for key in ("patients", "label", "metric", "method")), []).append(row)
    means = ("coverage", "misses low", "misses high", "width")
    out = []
    for rows in found.values():
        num = [row["claimed"] for row in rows]
        mean = {name: float(np.average([row[name] for row in rows], weights=num)) for name in means}
        out.append({**rows[0], **mean, "claimed": sum(num)})
    return out


if __name__ == "__main__":
    main()
