"""How the trials trained: against the teacher, against their own training data, to what epoch, and at what cost."""

from collections import Counter

import numpy as np

from xlite.ledger import TrialRecord, best_of
from xlite.report.distillation import MIN_GROUP
from xlite.report.intervals import mean_estimate
from xlite.report.sections import Section, StudyRows, counted, markdown_table, not_enough

_CPU = "cpu"


def teacher_section(study: StudyRows) -> Section:
    """The complete trials' values minus the teacher's, both on the validation part."""
    title = "How far are the students from the teacher?"
    if study.teacher_value is None:
        return Section(title, "unknown: no validation value of the teacher is recorded")
    values = np.array([row.value for row in study.complete], dtype=np.float64)
    if not len(values):
        return Section(title, not_enough(0, 1))
    best = best_of(study.rows)
    assert best is not None and best.value is not None
    conclusion = (
        f"The best student (trial {best.number}) differs from the teacher by {best.value - study.teacher_value:+.4f}"
    )
    body = [
        f"Teacher {study.teacher or 'unnamed'}: {study.metric} {study.teacher_value:.4f} on validation; best student "
        f"{best.value:.4f}. It is the best of {len(values)} by this very number, so its own value is rather too high; "
        "a single difference has no interval.",
        f"Above the teacher: {int((values > study.teacher_value).sum())} of {counted(len(values), 'complete trial')}.",
    ]
    if len(values) >= MIN_GROUP:
        mean = mean_estimate(values - study.teacher_value)
        body.append(f"Mean difference of all {len(values)} complete trials: {mean} (95% interval).")
        conclusion += f"; the mean of {len(values)} trials {mean}"
    else:
        body.append(f"Mean difference: {not_enough(len(values), MIN_GROUP)}.")
    return Section(title, conclusion, tuple(body))


def gap_section(study: StudyRows) -> Section:
    """Training minus validation value of the metric at the best epoch."""
    title = "How large is the gap between training and validation?"
    rows = [row for row in study.complete if row.summary.gap is not None]
    gaps = np.array([row.summary.gap for row in rows], dtype=np.float64)
    if len(gaps) < MIN_GROUP:
        return Section(title, not_enough(len(gaps), MIN_GROUP))
    mean = mean_estimate(gaps)
    widest = rows[int(np.argmax(gaps))]
    meaning = {1: "training is ahead of validation", -1: "validation is ahead of training", 0: "no gap beyond chance"}
    conclusion = f"{study.metric} on training minus validation: {mean} over {len(gaps)} trials; {meaning[mean.sign]}"
    return Section(title, conclusion, (f"Widest in trial {widest.number}: {max(gaps):+.4f}.",))


def turning_section(study: StudyRows, picture: str) -> Section:
    """The epoch at which validation was best, and what training on cost."""
    title = "When does validation turn?"
    curves_by_number = trained_curves(study)
    if len(curves_by_number) < MIN_GROUP:
        return Section(title, not_enough(len(curves_by_number), MIN_GROUP))
    curves = list(curves_by_number.values())
    best_epochs = np.array([int(np.argmax(curve)) + 1 for curve in curves])
    lengths = np.array([len(curve) for curve in curves])
    lost = mean_estimate(np.array([max(curve) - curve[-1] for curve in curves]))
    turned = best_epochs < lengths
    conclusion = (
        f"In {turned.sum()} of {len(curves)} trials validation was best before the last epoch (best epoch: median "
        f"{np.median(best_epochs):g} of {np.median(lengths):g}); the last epoch is {lost.unsigned} below the best"
    )
    body = []
    if turned.mean() < 0.5:
        body.append("Most trials were still at their best when the budget ended: more epochs may give more.")
    cells = [
        (number, best, len(curve), f"{max(curve):.4f}", f"{curve[-1]:.4f}")
        for (number, curve), best in zip(curves_by_number.items(), best_epochs.tolist(), strict=True)
    ]
    body.append(markdown_table(("trial", "best epoch", "epochs", "best", "last"), cells))
    return Section(title, conclusion, tuple(body), picture)


def trained_curves(study: StudyRows) -> dict[int, tuple[float, ...]]:
    """The validation curves of the complete trials, by number; one with a value that is not finite is left out."""
    curves = {row.number: row.summary.curve for row in study.complete}
    return {number: curve for number, curve in curves.items() if curve and np.isfinite(curve).all()}


def collapse_section(study: StudyRows) -> Section:
    """Trials whose predictions collapsed, by loss, and those that failed, by reason."""
    judged = [row for row in study.rows if row.summary.best_epoch]
    collapsed = [row for row in judged if _collapse(row)]
    failed = [row for row in study.rows if row.state == "failed" and not row.left_out]
    conclusion = (
        f"{len(collapsed)} of {counted(len(judged), 'judged trial')} collapsed, {len(failed)} of "
        f"{counted(len(study.rows), 'trial')} failed"
    )
    body = []
    if collapsed:
        rows_by_loss = Counter(_loss(study, row) for row in judged)
        by_loss = Counter(_loss(study, row) for row in collapsed)
        most = ", ".join(f"{loss} {num} of {rows_by_loss[loss]}" for loss, num in by_loss.most_common())
        body.append(f"Collapsed by loss: {most}. A tally, not a cause: other keys differ between losses too.")
        body.append(
            "Collapsed: more than half of the labels present are decided alike for every image, at thresholds chosen "
            "on validation (in studies of version 0.1.0: never predicted at 0.5)."
        )
        cells = [
            (row.number, row.state, _loss(study, row), study.config(row).get("data.sampler", "?"), _collapse(row))
            for row in collapsed
        ]
        body.append(markdown_table(("trial", "state", "loss", "sampler", "note"), cells))
    if failed:
        reasons: dict[str, list[int]] = {}
        for row in failed:
            reasons.setdefault(" ".join((row.reason or "unknown").split()), []).append(row.number)
        tally = [(len(numbers), ", ".join(map(str, numbers)), reason) for reason, numbers in reasons.items()]
        body.append(markdown_table(("failed", "trials", "reason"), tally))
    if num_left_out := sum(row.left_out for row in study.rows):
        body.append(f"Not counted as failed: {counted(num_left_out, 'trial')} left out for size.")
    return Section("Which trials collapsed or failed, and why?", conclusion, tuple(body))


def folds_section(study: StudyRows) -> Section | None:
    """Mean and spread over the folds of each promotion that has some; None where none has."""
    lines = []
    for row in study.finals:
        values = np.array(row.promotion.folds if row.promotion else (), dtype=np.float64)
        if len(values) >= 2:
            lines.append(
                f"promotion {row.number}: {study.metric} {values.mean():.4f}, standard deviation "
                f"{values.std(ddof=1):.4f} over {len(values)} folds ({', '.join(f'{value:.4f}' for value in values)})"
            )
    if not lines:
        return None
    about = (
        "Folds share training images, so their spread understates that of new data sets; no interval is drawn from it."
    )
    return Section("How far do the folds agree?", "; ".join(lines), (about,))


def hours_section(study: StudyRows) -> Section:
    """Hours of computing by device, over trials in any state and promotions."""
    device_hours: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for row in (*study.rows, *study.finals):
        if not row.summary.seconds:
            continue
        device = row.summary.device or "unknown device"
        hours = row.summary.seconds / 3600 * _units(study, row, device)
        device_hours[device] = device_hours.get(device, 0.0) + hours
        counts[device] += 1
    if not device_hours:
        return Section("What did it cost?", "unknown: no trial recorded its time")
    parts = [
        f"{hours:.2f} {'CPU-core' if device == _CPU else 'GPU'}-hours ({device}, {counted(counts[device], 'run')})"
        for device, hours in device_hours.items()
    ]
    on_cpu = all(device == _CPU for device in device_hours)
    about = "Trials in any state and promotions, without the teacher. " + (
        "A trial counts its threads."
        if on_cpu
        else f"A trial of the search counts {study.gpu_share:g} of a GPU."
        if study.gpu_share
        else "The trials' share of a GPU is unknown: each is counted as a whole one."
    )
    return Section("What did it cost?", " and ".join(parts), (about,))


def _units(study: StudyRows, row: TrialRecord, device: str) -> float:
    """Cores or GPUs the row held."""
    if device == _CPU:
        return study.config(row).get("train.threads", 1)
    return (study.gpu_share or 1.0) if row.phase == "search" else 1.0


def _collapse(row: TrialRecord) -> str:
    """How the row's predictions collapsed; "" where they did not."""
    dead = row.summary.dead_labels
    return dead.finding if dead and dead.collapsed else ""


def _loss(study: StudyRows, row: TrialRecord) -> str:
    return study.config(row).get("loss.name", "?")
