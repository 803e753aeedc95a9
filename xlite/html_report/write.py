"""Writes a study's report."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import xlite
from xlite.html_report.cost import cost_section
from xlite.html_report.data import data_section
from xlite.html_report.facts import Facts, read_facts
from xlite.html_report.learning import learning_section
from xlite.html_report.looking import looking_section
from xlite.html_report.made import made_section, time_section
from xlite.html_report.model import final_of, model_sections, value_text
from xlite.html_report.page import page
from xlite.html_report.parameters import parameters_section
from xlite.html_report.parts import Section
from xlite.html_report.private import cleaned
from xlite.html_report.search import asked_section, board_section
from xlite.ledger import best_of
from xlite.report.sections import counted
from xlite.storage.files import write_text

if TYPE_CHECKING:
    from xlite.tasks.prepare import Prepared


def write_report(
    folder: Path,
    out: Path,
    *,
    storage: str | None = None,
    prepared: "Prepared | None" = None,
    why_not: str = "",
    images: bool = True,
) -> list[Section]:
    """Write the report of the study in `folder` to `out`, in one step.

    Args:
        storage: URL of its ledger, if that is not where study.json says.
        prepared: its data, if at hand; `why_not` says why it is not.
        images: whether pictures of the data are shown.

    Returns:
        Its sections.

    Raises:
        InputError: there is no such study, or a file of it cannot be read.
    """
    facts = read_facts(folder, storage)
    sections = [
        asked_section(facts),
        board_section(facts),
        *model_sections(facts),
        *([looking_section(facts.package, prepared)] if images and prepared and facts.package else []),
        learning_section(facts),
        parameters_section(facts),
        cost_section(facts),
        data_section(facts, prepared, why_not=why_not, pictures=images),
        time_section(facts),
        made_section(facts),
    ]
    sections = cleaned(sections, facts.places)
    made = (
        f"Made by X-Lite {xlite.__version__}, {datetime.now():%Y-%m-%d %H:%M}. The file asks the network for nothing."
    )
    write_text(out, page(folder.name, _subtitle(facts), cleaned(_tiles(facts), facts.places), sections, made))
    return sections


def _subtitle(facts: Facts) -> str:
    task, kind = facts.settings.get("task", ""), facts.settings.get("kind", "")
    states = [row.state for row in facts.study.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    started = [row.started for row in facts.study.rows if row.started]
    when = f"; begun {min(started):%Y-%m-%d}" if started else ""
    told = f"{task} ({kind}); " if task else ""
    return told + counted(len(states), "trial") + (f": {counts}" if counts else "") + when


def _tiles(facts: Facts) -> list[tuple[str, str, str]]:
    study, best = facts.study, best_of(facts.study.rows)
    value = "none yet" if best is None or best.value is None else f"{best.value:.4f}"
    tiles = [(f"best trial, validation {study.metric}", value, f"trial {best.number}, {best.state}" if best else "")]
    if package := facts.package:
        final, test = final_of(facts, package), package.metrics["test"]
        low, high = test.get("interval_95") or (None, None)
        interval = f"95%: {low:.3f} to {high:.3f}" if low is not None else "no interval claimed"
        tiles.append(
            (
                f"promoted{package.trial}, test {package.metrics['metric']}",
                value_text(test["metrics"][package.metrics["metric"]]),
                interval,
            )
        )
        if final is not None and final.cost is not None:
            tiles.append(("size", f"{final.cost.size_mb:.2f} MB", f"{final.cost.num_params:,} parameters"))
            if final.cost.latency_ms is not None:
                tiles.append(("latency, batch 1", f"{final.cost.latency_ms:.1f} ms", final.summary.device or ""))
        tiles.append(("test part was read", f"{len(facts.reads)} ×", "each reading makes it worth less"))
    if study.teacher_value is not None:
        tiles.append(("teacher, validation", f"{study.teacher_value:.4f}", study.teacher))
    seconds = sum(row.summary.seconds for row in (*study.rows, *study.finals))
    if seconds:
        tiles.append(("time of all runs", f"{seconds / 3600:.2f} h" if seconds > 600 else f"{seconds:.0f} s", ""))
    return tiles
