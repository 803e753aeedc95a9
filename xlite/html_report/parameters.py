"""The section on parameters: importances, temperature and alpha, parallel coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlite.html_report.facts import Facts
from xlite.html_report.parts import BLUE, GREY, ORANGE, RED, Answer, Figure, Section, axis, plain, upright
from xlite.ledger import TrialRecord
from xlite.report.distillation import Sensitivity, alpha_sensitivity, sensitivity_section, temperature_sensitivity
from xlite.report.importance import MIN_TRIALS, Importances, importance_section, importances

_MAX_AXES = 12
_SHADES = ("#c6d4e6", "#93b5d9", "#5b93c9", "#2f6fae", "#d1495b")  # from the lowest fifth to the highest


def parameters_section(facts: Facts) -> Section:
    """Which parameters matter, and how the score moves with them."""
    study, trials = facts.study, facts.complete
    found = importances(trials) if len(trials) >= MIN_TRIALS else None
    slices = [temperature_sensitivity(study), alpha_sensitivity(study)]
    answers = [importance_section(found, len(trials), ""), sensitivity_section(study, slices, "")]
    blocks = [_importances(found)] if found else []
    blocks += [_slice(each, study.metric) for each in slices if len(each.values)]
    if together := _parallel(facts, [one.key for one in found.parameters] if found else []):
        blocks.append(together)
    says = tuple(Answer(each.title, each.conclusion) for each in answers)
    return Section("parameters", "What mattered", says, blocks)


def _importances(found: Importances) -> Figure:
    ordered = found.parameters[::-1]
    shares = [one.share for one in ordered]
    bars = {
        **{"type": "bar", "orientation": "h", "x": shares, "y": [plain(one.key) for one in ordered]},
        **{"marker": {"color": BLUE}, "name": "share", "hovertemplate": "%{y}: %{x:.1%}<extra></extra>"},
        "error_x": {
            **{"type": "data", "symmetric": False, "color": GREY},
            "array": [one.high - one.share for one in ordered],
            "arrayminus": [one.share - one.low for one in ordered],
        },
    }
    layout = {
        **{"xaxis": axis("share of importance", range=[0, 1], tickformat=".0%"), "yaxis": axis("")},
        **{"shapes": [upright(found.chance, color=RED, dash="dash")], "showlegend": False},
    }
    chance = f"Dashed: what chance reaches ({found.chance:.0%})."
    says = f"fANOVA over {found.num_trials} complete trials, with 95% intervals. {chance}"
    return Figure("Importance of the parameters", says, (bars,), layout, height_px=120 + 30 * len(ordered))


def _slice(found: Sensitivity, metric: str) -> Figure:
    judged = [(each.centre, each.estimate) for each in found.bins if each.estimate is not None]
    points = {
        **{"type": "scatter", "mode": "markers", "name": "a trial", "x": found.parameter.tolist()},
        **{"y": found.values.tolist(), "marker": {"color": BLUE, "opacity": 0.6, "size": 8}},
        "hovertemplate": "%{x:.3g}: %{y:.4f}<extra></extra>",
    }
    means = {
        **{
            "type": "scatter",
            "mode": "markers",
            "name": "mean of a range, 95% interval",
            "x": [at for at, _ in judged],
        },
        **{"y": [one.mean for _, one in judged], "marker": {"color": ORANGE, "size": 9, "symbol": "diamond"}},
        "error_y": {
            **{"type": "data", "symmetric": False, "color": ORANGE},
            "array": [one.high - one.mean for _, one in judged],
            "arrayminus": [one.mean - one.low for _, one in judged],
        },
    }
    name = found.key.partition(".")[2]
    scale = {"type": "log", "dtick": float(np.log10(2))} if name == "temperature" else {"range": [-0.05, 1.05]}
    layout = {"xaxis": axis(name, **scale), "yaxis": axis(plain(metric))}
    says = f"Score of the {len(found.values)} complete trials that read {found.key}."
    return Figure(f"Score by {name}", says, (points, *([means] if judged else [])), layout, height_px=340, half=True)


def _parallel(facts: Facts, important: Sequence[str]) -> Figure | None:
    """One line a trial across its parameters; the highest fifth is red. None with fewer than two trials or keys.

    Args:
        important: keys that come first.
    """
    rows = facts.study.complete
    varied = {key for key in sorted({k for row in rows for k in row.overrides}) if _varies(rows, key)}
    every = [*(key for key in important if key in varied), *sorted(varied - set(important))]
    keys = every[:_MAX_AXES]
    if len(rows) < 2 or len(keys) < 2:
        return None
    places = {key: _places([row.overrides.get(key) for row in rows]) for key in keys}
    values = np.array([row.value for row in rows], dtype=np.float64)
    low, high = values.min(), values.max()
    score = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    fifth = (
        np.minimum((np.argsort(np.argsort(values)) * 5) // len(values), 4)
        if len(values) >= 5
        else np.full(len(values), 2)
    )
    traces = []
    for shade in sorted(set(fifth.tolist())):
        x: list[float | None] = []
        y: list[float | None] = []
        text: list[str | None] = []
        for number in np.flatnonzero(fifth == shade).tolist():
            told = [f"{key}: {plain(_short(rows[number].overrides.get(key)))}" for key in keys]
            x += [*range(len(keys) + 1), None]
            y += [*(places[key][0][number] for key in keys), float(score[number]), None]
            text += [
                *(f"trial {rows[number].number}, {one}" for one in told),
                f"trial {rows[number].number}: {values[number]:.4f}",
                None,
            ]
        name = f"fifth {shade + 1} of 5" + (", highest" if shade == 4 else ", lowest" if shade == 0 else "")
        traces.append(
            {
                **{"type": "scatter", "mode": "lines+markers", "name": name if len(values) >= 5 else "trials"},
                **{"x": x, "y": y, "text": text, "hovertemplate": "%{text}<extra></extra>", "marker": {"size": 4}},
                **{"line": {"color": _SHADES[shade], "width": 2 if shade == 4 else 1}, "opacity": 0.8},
            }
        )
    ends = {**{key: places[key][1] for key in keys}, facts.study.metric: [(0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")]}
    says = f"Each line is one of {len(rows)} complete trials; the last axis is {facts.study.metric}."
    share = "All" if keys == every else f"{len(keys)} of {len(every)}"
    title = f"{share} parameters together" + (", the most important first" if important else "")
    return Figure(title, says, tuple(traces), _axes(ends), height_px=460, min_width_px=122 * len(ends))


def _axes(ends: Mapping[str, Sequence[tuple[float, str]]]) -> dict[str, Any]:
    """The layout of upright axes, each with its marks: heights from 0 to 1 and what stands there."""
    look = {"showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 11}}
    notes = [
        {"x": at, "y": height, "text": plain(word), **look}
        for at, marks in enumerate(ends.values())
        for height, word in marks
    ]
    ticks = {
        "tickvals": list(range(len(ends))),
        "ticktext": [plain(key).replace(".", ".<br>") for key in ends],
        "side": "top",
    }
    return {
        "xaxis": axis("", **ticks, range=[-0.1, len(ends) - 0.45], zeroline=False),
        "yaxis": {"visible": False, "range": [-0.08, 1.08]},
        "annotations": notes,
        "legend": {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top"},
    }


def _varies(rows: Sequence[TrialRecord], key: str) -> bool:
    return len({repr(row.overrides.get(key)) for row in rows}) > 1


def _places(values: Sequence[Any]) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Heights from 0 to 1 of a parameter's values, None where it is absent, and the marks of its axis."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        scale = np.log10 if low > 0 and high / low > 20 else np.asarray
        ends = [float(scale(end)) for end in (low, high)]
        span = ends[1] - ends[0] or 1.0  # the trials that have the key may all have one value
        heights = [None if v is None else (float(scale(v)) - ends[0]) / span for v in values]
        return heights, [(0.0, f"{low:.3g}"), *([(1.0, f"{high:.3g}")] if high > low else [])]
    names = sorted({str(value) for value in known})
    at = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
    return [None if value is None else at[str(value)] for value in values], [
        (at[name], name if len(name) <= 16 else "…" + name[-15:]) for name in names
    ]


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
