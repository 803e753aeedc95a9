"""The section on a promotion: search, retrained and test values, each label, curves, calibration, confusion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xlite.html_report.facts import Facts, Package, not_written_by_a_promotion
from xlite.html_report.model_charts import charts
from xlite.html_report.parts import Answer, Block, Cell, Section, Table, number
from xlite.ledger import TrialRecord
from xlite.report.promotion import luck_section
from xlite.report.sections import counted, mean_and_spread

_PER_LABEL = ("auc", "pr_auc", "f1", "precision", "recall")
_TITLES = {"auc": "AUC", "pr_auc": "PR-AUC", "f1": "F1"}


def model_sections(facts: Facts) -> list[Section]:
    """A section for each package; one that says so where nothing is promoted.

    Raises:
        InputError: a package's files are not what a promotion writes.
    """
    if not facts.packages:
        says = "Nothing is promoted yet: `xlite promote` retrains the winner, tests it once and packages it."
        return [Section("model", "The promoted model", (says,))]
    sections = []
    for package in facts.packages:
        try:
            sections.append(_section(facts, package))
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise not_written_by_a_promotion(package, error) from None
    return sections


def final_of(facts: Facts, package: Package) -> TrialRecord | None:
    """The ledger's row of a package's promotion; by its identity, of earlier versions the last one."""
    identity = package.metrics.get("identity")
    finals = [row for row in facts.study.finals if row.promotion]
    named = [row for row in finals if row.promotion and row.promotion.identity == identity]
    return next(iter(named), finals[-1] if finals and identity is None else None)


def value_text(value: float | None) -> str:
    """A score; no score is defined where, say, all known labels of a part are of one class."""
    return "undefined" if value is None else f"{value:.4f}"


def _section(facts: Facts, package: Package) -> Section:
    metrics, final = package.metrics, final_of(facts, package)
    metric, test = metrics["metric"], metrics["test"]
    low, high = test.get("interval_95") or (None, None)
    interval = (
        "no 95% interval is claimed" if low is None else f"95% interval {low:.3f} to {high:.3f}, whole groups resampled"
    )
    says: list[str | Answer] = [f"{metric} {value_text(test['metrics'][metric])} on test ({interval})."]
    if final is not None and final.promotion is not None:
        cost = final.cost
        says.append(
            f"From trial {final.promotion.promoted_from}; {counted(len(metrics['models']), 'model')}"
            + (f", {cost.num_params:,} parameters, {cost.size_mb:.2f} MB" if cost else "")
            + (f", {cost.latency_ms:.1f} ms at batch 1" if cost and cost.latency_ms else "")
            + "."
        )
        if section := luck_section(replace(facts.study, finals=(final,))):
            says.append(Answer(section.title, section.conclusion))
    says += [f"Note: {note}" for note in package.thresholds.get("notes", ())]
    blocks: list[Block] = [_values(metrics, final), _labels(package)]
    if facts.reads:
        rows = [(read.command, read.when or "not recorded") for read in facts.reads]
        blocks.insert(1, Table("Each reading of the test part", ("what read it", "when"), tuple(rows), half=True))
    blocks += charts(package)
    if not package.curves:
        says.append(
            "ROC, precision-recall and confusion are not stored with this promotion; promoting again stores them."
        )
    title = "The promoted model" if not package.name else f"Promoted: trial {int(package.name)}"
    return Section("model" + package.name, title, tuple(says), blocks)


def _values(metrics: Mapping[str, Any], final: TrialRecord | None) -> Table:
    """How the score shrinks from the search to patients that chose nothing."""
    metric = metrics["metric"]
    chosen = final.promotion.candidate if final and final.promotion else None
    rows: list[tuple[Cell, ...]] = []
    if chosen is not None:
        rows.append(("in the search, where it was the best of many", number(chosen.search_value), ""))
        rows.append(("retrained, on validation", mean_and_spread(chosen.values), counted(len(chosen.values), "seed")))
    for key, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        part = metrics.get(key, {})
        interval = part.get("intervals_95", {}).get("scalars", {}).get(metric, {})
        rows.append((f"the model, on {name}", number(part.get("metrics", {}).get(metric)), _ends(interval)))
    values = metrics.get("test_values") or ()
    if len(values) > 1:
        rows.append(("all seeds, on test", mean_and_spread(values), counted(len(values), "seed")))
    title = f"From search to test: {metric}" + (". The first value is of the luckiest of many trials" if chosen else "")
    return Table(title, ("where", metric, "95% interval"), tuple(rows), half=True)


def _ends(interval: Mapping[str, Any]) -> str:
    """Of a stored interval, or why none is claimed."""
    if interval.get("low") is None:
        return interval.get("note", "")
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def _labels(package: Package) -> Table:
    test, of_threshold = package.metrics["test"], package.thresholds.get("labels", {})
    intervals, decided = (test.get(name, {}).get("per_label", {}) for name in ("intervals_95", "at_thresholds"))
    calibrated = test.get("calibration", {})
    shown = [name for name in _PER_LABEL if any(name in row for row in test["per_label"].values())]
    rows = []
    for label, row in test["per_label"].items():
        values = {**row, **decided.get(label, {})}
        told = of_threshold.get(label, {})
        ece = [calibrated.get(when, {}).get("per_label", {}).get(label, {}).get("ece") for when in ("before", "after")]
        rows.append(
            (
                *(label, number(row.get("num_positive"), ".0f"), number(row.get("num_known"), ".0f")),
                *(number(values.get(name), ".3f") for name in shown[:1]),
                _ends(intervals.get(label, {}).get("auc", {})),
                *(number(values.get(name), ".3f") for name in shown[1:]),
                *(number(told.get("threshold"), ".3f"), told.get("basis", ""), *(number(each, ".3f") for each in ece)),
            )
        )
    names = [_TITLES.get(name, name) for name in shown]
    columns = ("label", "positive", "known", *names[:1], "95% interval", *names[1:])
    columns += ("threshold", "basis", "ECE before", "after")
    empty = {i for i in range(len(columns)) if i and all(row[i] == "" for row in rows)}
    kept = [tuple(cell for i, cell in enumerate(row) if i not in empty) for row in rows]
    at = "at its threshold" if package.thresholds.get("thresholds") else "of the most probable class"
    title = f"Each label on test; F1, precision and recall are {at}"
    return Table(title, tuple(name for i, name in enumerate(columns) if i not in empty), tuple(kept), sortable=True)
