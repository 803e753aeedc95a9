"""A study's analysis: every question its rows can answer, as analysis.md with pictures."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial

from xlite.errors import InputError
from xlite.ledger import Ledger, StudyManifest
from xlite.report.distillation import (
    alpha_sensitivity,
    distillation_section,
    sensitivity_section,
    temperature_sensitivity,
)
from xlite.report.front import front_section
from xlite.report.importance import MIN_TRIALS, importance_section, importances
from xlite.report.pictures import draw_curves, draw_importances, draw_sensitivity
from xlite.report.promotion import luck_section
from xlite.report.sections import Section, StudyRows, counted
from xlite.report.training import (
    collapse_section,
    folds_section,
    gap_section,
    hours_section,
    teacher_section,
    trained_curves,
    turning_section,
)
from xlite.storage.files import write_text

REPORT = "analysis.md"
SENSITIVITY, IMPORTANCE, CURVES = "sensitivity.png", "importance.png", "curves.png"
_ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Analysis:
    """The report as text, its one-line answers by title, and the files it consists of."""

    text: str
    answers: dict[str, str]
    files: tuple[Path, ...]


def study_rows(ledger: Ledger, manifest: StudyManifest | None) -> StudyRows:
    """What the analysis reads of a study.

    Args:
        manifest: its study.json, where there is one.

    Raises:
        InputError: no trial has ended yet.
    """
    study = rows_of(ledger, manifest)
    if not any(row.state in _ENDED for row in study.rows):
        raise InputError(
            f"study {ledger.name}: no trial of its {len(study.rows)} has ended, so there is nothing to analyse; "
            "search first with `xlite tune`, or wait"
        )
    return study


def rows_of(ledger: Ledger, manifest: StudyManifest | None) -> StudyRows:
    """The same of a study of which no trial need have ended."""
    metadata = ledger.metadata
    return StudyRows(
        name=ledger.name,
        metric=" ".join(str(metadata.get("metric", "auc_macro")).split()),
        rows=tuple(ledger.rows()),
        finals=tuple(ledger.finals()),
        base=metadata.get("config") or (manifest.base if manifest else {}),
        teacher=" ".join(manifest.teacher.split()) if manifest else "",
        teacher_value=manifest.teacher_value if manifest else None,
        gpu_share=manifest.gpu_share if manifest else None,
        objectives=ledger.objectives,
    )


def analyse(study: StudyRows, trials: Sequence[FrozenTrial], folder: Path) -> Analysis:
    """Write analysis.md and its pictures into `folder`; pictures that can no longer be drawn are removed.

    Args:
        trials: the study's complete ones, as Optuna's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [temperature_sensitivity(study), alpha_sensitivity(study)]
    important = importances(trials) if len(trials) >= MIN_TRIALS else None
    curves = trained_curves(study)
    drawable = [sensitivity for sensitivity in found if len(sensitivity.values)]
    drawings = {
        SENSITIVITY: partial(draw_sensitivity, found=drawable, metric=study.metric) if drawable else None,
        IMPORTANCE: partial(draw_importances, found=important) if important else None,
        CURVES: partial(draw_curves, curves=curves.values(), metric=study.metric, teacher_value=study.teacher_value)
        if curves
        else None,
    }
    for name, draw in drawings.items():
        if draw:
            draw(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    shown = {name: name if draw else "" for name, draw in drawings.items()}
    sections: list[Section | None] = [
        front_section(study),
        distillation_section(study),
        sensitivity_section(study, found, shown[SENSITIVITY]),
        importance_section(important, len(trials), shown[IMPORTANCE]),
        teacher_section(study),
        gap_section(study),
        turning_section(study, shown[CURVES]),
        collapse_section(study),
        folds_section(study),
        luck_section(study),
        hours_section(study),
    ]
    written = [section for section in sections if section is not None]
    text = "\n\n".join([f"# Study {study.name}", describe_rows(study), *(one.markdown() for one in written)]) + "\n"
    write_text(folder / REPORT, text)
    files = (folder / REPORT, *(folder / name for name in shown.values() if name))
    return Analysis(text, {section.title: section.conclusion for section in written}, files)


def describe_rows(study: StudyRows) -> str:
    """How many trials of each state there are, and which of them are averaged."""
    states = [row.state for row in study.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    text = f"{counted(len(states), 'trial')}: {counts}; {counted(len(study.finals), 'promotion')}."
    stopped = [max(row.curve, default=0) for row in study.rows if row.state == "pruned"]
    if stopped:
        text += (
            f" Only complete trials are averaged; the {len(stopped)} pruned (stopped at epoch "
            f"{statistics.median(stopped):g} in the median) are left out, since fewer epochs are no fair comparison."
        )
    return text
