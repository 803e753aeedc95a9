"""Charts of a promotion on test: AUC of each label, ROC, precision and recall, calibration, decisions by true label."""

from collections.abc import Mapping, Sequence
from typing import Any

from xlite.html_report.facts import Package
from xlite.html_report.parts import BLUE, GREY, LABEL_COLOURS, Figure, axis, plain, upright
from xlite.metrics.curves import NONE
from xlite.report.sections import counted

_SHOWN_AT_FIRST = 4


def charts(package: Package) -> list[Figure]:
    """Those that the package's files have the numbers of."""
    test, confusion = package.metrics["test"], package.curves.get("confusion")
    figures = [_intervals(test), *_curves(package, test), _calibration(package, test)]
    figures.append(_confusion(confusion) if confusion else None)
    return [figure for figure in figures if figure is not None]


def _intervals(test: Mapping[str, Any]) -> Figure | None:
    """AUC of each label with its interval, the highest on top."""
    known = {label: row["auc"] for label, row in test["per_label"].items() if row.get("auc") is not None}
    if not known:
        return None
    names = sorted(known, key=lambda label: known[label])
    ends = {name: test.get("intervals_95", {}).get("per_label", {}).get(name, {}).get("auc", {}) for name in names}

    def trace(names: Sequence[str], name: str, colour: str) -> dict[str, Any]:
        high = [ends[each]["high"] - known[each] if ends[each].get("low") is not None else 0 for each in names]
        low = [known[each] - ends[each]["low"] if ends[each].get("low") is not None else 0 for each in names]
        return {
            **{"type": "scatter", "mode": "markers", "name": name, "x": [known[each] for each in names]},
            **{"y": [plain(each) for each in names], "marker": {"color": colour, "size": 9}},
            "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": colour},
            "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
        }

    sure = [name for name in names if ends[name].get("low") is not None]
    unsure = [name for name in names if name not in sure]
    traces = [trace(sure, "with 95% interval", BLUE)] if sure else []
    traces += [trace(unsure, "too few for an interval", GREY)] if unsure else []
    order = {"type": "category", "categoryorder": "array", "categoryarray": [plain(name) for name in names]}
    layout = {
        "xaxis": axis("AUC on test", range=[0, 1.02]),
        "yaxis": axis("", **order),
        "shapes": [upright(0.5, dash="dot", color=GREY)],
    }
    says = f"Highest: {names[-1]} ({known[names[-1]]:.3f}); lowest: {names[0]} ({known[names[0]]:.3f}). Dotted: chance."
    return Figure("AUC of each label", says, tuple(traces), layout, height_px=140 + 24 * len(names))


def _by_label(test: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, dict[str, str], bool]]:
    """(label, its line, shown at first): those with the most positives."""
    order = sorted(names, key=lambda name: -(test["per_label"].get(name, {}).get("num_positive") or 0))
    shown = set(order[:_SHOWN_AT_FIRST])
    num = len(LABEL_COLOURS)
    lines = [{"color": LABEL_COLOURS[i % num], "dash": "dash" if i >= num else "solid"} for i in range(len(order))]
    return [(name, line, name in shown) for name, line in zip(order, lines, strict=True)]


def _curves(package: Package, test: Mapping[str, Any]) -> list[Figure]:
    labels = package.curves.get("labels", {})
    if not labels:
        return []
    figures = []
    kinds = (
        ("roc", "ROC", "false positive rate", "true positive rate", "Dotted: chance."),
        ("pr", "Precision and recall", "recall", "precision", ""),
    )
    for key, title, x, y, about in kinds:
        traces = [_line(name, line, shown, *labels[name][key]) for name, line, shown in _by_label(test, list(labels))]
        if key == "roc":
            traces.append(_diagonal("chance"))
        layout = {"xaxis": axis(x, range=[-0.02, 1.02]), "yaxis": axis(y, range=[-0.02, 1.02])}
        says = f"{counted(len(labels), 'label')} on test; choose them in the legend. {about}"
        figures.append(Figure(title, says, tuple(traces), layout, height_px=440, half=True))
    return figures


def _line(
    name: str, line: Mapping[str, str], shown: bool, x: Sequence[float], y: Sequence[float], mode: str = "lines"
) -> dict[str, Any]:
    return {
        **{"type": "scatter", "mode": mode, "name": plain(name), "x": x, "y": y, "line": line},
        **({} if shown else {"visible": "legendonly"}),
    }


def _diagonal(name: str) -> dict[str, Any]:
    return {**_line(name, {"dash": "dot", "color": GREY}, True, [0, 1], [0, 1]), "hoverinfo": "skip"}


def _calibration(package: Package, test: Mapping[str, Any]) -> Figure | None:
    after = package.reliability.get("test", {}).get("after", {})
    if not after:
        return None
    traces = []
    for name, line, shown in _by_label(test, list(after)):
        bins = after[name]
        x, y = [each["mean_predicted"] for each in bins], [each["observed"] for each in bins]
        traces.append(_line(name, line, shown, x, y, "lines+markers"))
    calibration = test.get("calibration", {})
    before, now = (calibration.get(when, {}).get("scalars", {}).get("ece_macro") for when in ("before", "after"))
    told = (
        ""
        if None in (before, now)
        else f" Expected calibration error {before:.3f} before, {now:.3f} after calibration."
    )
    layout = {"xaxis": axis("predicted probability"), "yaxis": axis("observed share", rangemode="tozero")}
    says = f"Test, in bins of equal numbers; on the dotted line a probability means what it says.{told}"
    return Figure("Calibration", says, (*traces, _diagonal("perfect")), layout, height_px=440, half=True)


def _confusion(found: Mapping[str, Any]) -> Figure:
    """Of the examples with the label of a row, the share that is decided to have that of a column."""
    rows, columns = ([plain(name) for name in found[key]] for key in ("rows", "columns"))
    shares = [
        [cell / total if total else None for cell in line]
        for line, total in zip(found["counts"], found["totals"], strict=True)
    ]
    told = [
        [f"{cell} of {total}" for cell in line] for line, total in zip(found["counts"], found["totals"], strict=True)
    ]
    heat = {
        **{"type": "heatmap", "z": shares, "x": columns, "y": rows, "text": told},
        **{"zmin": 0, "zmax": 1, "xgap": 1, "ygap": 1},
        "colorscale": [[0, "rgba(59,130,196,0.06)"], [0.5, BLUE], [1, "#12395f"]],
        "colorbar": {"tickformat": ".0%", "thickness": 12},
        "hovertemplate": "true: %{y}<br>decided: %{x}<br>%{text} (%{z:.0%})<extra></extra>",
    }
    if len(rows) <= 8:
        heat["texttemplate"] = "%{text}"
    layout = {
        "xaxis": axis("decided", type="category", tickangle=-45 if len(rows) > 4 else 0, showgrid=False),
        "yaxis": axis("true", type="category", autorange="reversed", showgrid=False),
    }
    independent = found["rows"][-1] == NONE
    says = "Of the test examples with the label of a row, the share that is decided to have that of a column" + (
        "; an example may truly have both. Only examples with all labels known are counted. On the diagonal, but for "
        f"“{NONE}”, it is recall."
        if independent
        else "; on the diagonal it is recall."
    )
    return Figure(
        "Decided together" if independent else "Confusion matrix",
        says,
        (heat,),
        layout,
        height_px=200 + 26 * len(rows),
        min_width_px=160 + 26 * len(rows),
        half=len(rows) <= 15,
    )
