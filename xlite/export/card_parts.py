"""The tables and sentences of a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlite.data.held_out import HELD_OUT
from xlite.export.facts import Measured, StudyFacts
from xlite.export.markdown import inert, table
from xlite.export.reporting import TODO
from xlite.package.about import About
from xlite.report.sections import counted, mean_and_spread

_PARTS: Mapping[str, str] = {"train": "training", "val": "validation", "test": "test", HELD_OUT: "held out"}
_SPLITS: Mapping[str, str] = {
    "patient": "drawn by patient, stratified on the labels",
    "official": "that of the data set's own lists",
    "image": "drawn by image",
}
_COLUMNS: Mapping[str, str] = {
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "f1_at_thresholds": "F1",
    "precision_at_thresholds": "precision",
    "recall_at_thresholds": "sensitivity",
    "f1": "F1",
    "precision": "precision",
    "recall": "sensitivity",
}


def model_table(about: About, facts: StudyFacts, measured: Measured) -> str:
    """What the model is and what it costs."""
    model = measured.description["model"]
    spec, cost = about.input_spec, facts.promotion.cost if facts.promotion else None
    rows = [
        ("architecture", inert(f"{model['backbone']}, attention {model['attention']}, head {model['head']}")),
        ("models", _ensemble(about)),
        ("parameters", f"{cost.num_params:,}" if cost else "-"),
        ("model.onnx", f"{measured.onnx_bytes / 1e6:.2f} MB, {about.precision}, opset {about.versions['opset']}"),
        ("input", inert(f"{spec.layout}, {' x '.join(map(str, spec.shape))}, {np.dtype(spec.dtype).name}")),
        ("preprocessing", inert(_preprocessing(about))),
        ("output", inert(f"{len(about.labels)} calibrated probabilities: {', '.join(about.labels)}")),
    ]
    if cost and cost.latency_ms is not None:
        rows.append(("latency", f"{cost.latency_ms:.1f} ms an example by PyTorch, {_timed_on(facts, measured)}"))
    return table(("", ""), rows)


def data_text(facts: StudyFacts) -> str:
    """Where the data is from and how it was split."""
    source = (
        "Phantoms that X-Lite draws. No patient's picture is in them."
        if facts.drawn
        else f"Name, source, dates and sites of the data: {TODO}"
    )
    unusable = f" Left out as missing or unreadable: {facts.unusable:,}." if facts.unusable else ""
    return (
        f"{source}\n\nThe split is {_split(facts)} (seed {facts.seed}); its hash is `{facts.split_hash}`, "
        f"that of images and labels `{facts.data_hash}`.{unusable} {_copies(facts)}"
    )


def parts_table(facts: StudyFacts) -> str:
    """Examples and patients of each part."""
    rows = [(_PARTS[part], f"{num:,}", f"{groups:,}") for part, (num, groups) in facts.parts.items()]
    return table(("part", "examples", "patients (groups)"), rows)


def positives_table(about: About, facts: StudyFacts, measured: Measured) -> str:
    """How often each label occurs, in each part."""
    tested = measured.metrics["test"]["per_label"]

    def counts(label: str) -> list[str]:
        known = [facts.positives[part].get(label) for part in ("train", "val")]
        cells = [f"{pair[0]:,} of {pair[1]:,}" if pair else "-" for pair in known]
        row = tested.get(label, {})
        has = "num_positive" in row
        return [*cells, f"{row['num_positive']:,} of {row['num_known']:,}" if has else "-"]

    rows = [(inert(label), *counts(label)) for label in about.labels]
    return table(("label", "training, positive of known", "validation", "test"), rows)


def scores_table(facts: StudyFacts, measured: Measured) -> str:
    """The score from search to test, side by side."""
    metrics, name = measured.metrics, measured.metrics["metric"]
    searched = metrics.get("search_value", facts.search_value)
    low, high = metrics["test"]["interval_95"]
    rows = [("in the search, on validation", "-" if searched is None else f"{searched:.4f}")]
    if "retrained_values" in metrics:
        rows.append(
            (f"trained again, {counted(len(metrics['seeds']), 'seed')}", mean_and_spread(metrics["retrained_values"]))
        )
    rows.append(("the model in this package, on validation", f"{metrics['validation']['metrics'][name]:.4f}"))
    if "test_values" in metrics:
        rows.append(("on test, over the seeds", mean_and_spread(metrics["test_values"])))
    interval = "no interval" if low is None else f"95% interval {low:.4f} to {high:.4f}"
    rows.append(("**the model in this package, on test**", f"**{metrics['test']['metrics'][name]:.4f}** ({interval})"))
    return table(("", f"{inert(name)}"), rows)


def scores_text(facts: StudyFacts, measured: Measured) -> str:
    """How these numbers are to be read."""
    reads = max(facts.reads_of_test, measured.metrics["test"]["reads_of_test_in_this_study"])
    return (
        "The value in the search is the best of many trials, so it is too high; epoch and thresholds were chosen on "
        f"validation. The test part of this study was read {counted(reads, 'time')} so far."
    )


def labels_table(about: About, measured: Measured) -> str:
    """Of each label what the test part shows; metrics of decisions at thresholds where there are any."""
    test = measured.metrics["test"]
    intervals: Mapping[str, Any] = test.get("intervals_95", {}).get("per_label", {})
    rows = list(test["per_label"].values())
    shown = [name for name in _COLUMNS if any(name in row for row in rows)]
    shown = [name for name in shown if (name + "_at_thresholds") not in shown]
    ece = (test.get("calibration") or {}).get("after", {}).get("per_label", {})

    def cell(label: str, name: str) -> str:
        value = test["per_label"].get(label, {}).get(name)
        if value is None:
            return "-"
        found = intervals.get(label, {}).get(name)
        if found is None:
            return f"{value:.3f}"
        low, high, note = found["low"], found["high"], found["note"]
        return f"{value:.3f} ({inert(note)})" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"

    body = [
        (inert(label), *(cell(label, name) for name in shown), f"{ece[label]['ece']:.3f}" if label in ece else "-")
        for label in about.labels
    ]
    return table(("label", *(_COLUMNS[name] for name in shown), "ECE"), body)


def decisions_text(about: About, measured: Measured) -> str:
    """Calibration, thresholds and the notes on both."""
    calibration, parts = about.calibration, []
    if calibration is None:
        parts.append("Probabilities are not calibrated.")
    elif about.exclusive:
        parts.append(f"All classes share one calibration: {calibration['methods'][0]}. The most probable class counts.")
    else:
        methods: Sequence[str] = calibration["methods"]
        counts = ", ".join(f"{methods.count(name)} {name}" for name in ("temperature", "platt", "none"))
        parts.append(f"Probabilities are calibrated on validation, label by label ({counts}).")
    if about.thresholds:
        parts.append(f"Thresholds are of calibrated probabilities, chosen for {inert(about.threshold_method)}:")
        known = measured.thresholds.get("labels", {})
        rows = [
            (inert(label), f"{value:.4f}", inert(known.get(label, {}).get("basis", "-")))
            for label, value in about.thresholds.items()
        ]
        parts.append(table(("label", "threshold", "basis"), rows))
    parts += [f"- {inert(note)}" for note in measured.thresholds.get("notes", [])]
    return "\n\n".join(parts)


def limits(facts: StudyFacts, measured: Measured) -> str:
    """What is known to be weak, from the run."""
    test = measured.metrics["test"]
    found = [
        "All parts are of one data set. Images of other scanners, sites or patients may give other numbers: judge "
        "the model on yours with `xlite evaluate` before you use it.",
        "Inputs are resized to the size above; details below its resolution are lost.",
        *(f"On test: {inert(note)}" for note in test["notes"]),
        *(f"No value on test for {inert(name)}." for name in test["undefined"]),
    ]
    few = [label for label, row in test["per_label"].items() if row.get("num_positive", 10) < 10]
    if few:
        found.append(f"Fewer than ten positives on test, so little is known of: {', '.join(map(inert, few))}.")
    return "\n".join(f"- {line}" for line in [*found, f"Groups of patients on which it is worse: {TODO}"])


def making(about: About, facts: StudyFacts, measured: Measured) -> str:
    """Search and training, in a paragraph."""
    config = measured.description["config"]
    states = ", ".join(f"{num} {state}" for state, num in facts.trials.items())
    teacher = f" Its teacher was {inert(facts.teacher)}." if facts.teacher and config["distill.alpha"] > 0 else ""
    distilled = (
        f"distilled with weight {config['distill.alpha']:g} at temperature {config['distill.temperature']:g}"
        if config["distill.alpha"] > 0
        else "trained on the labels alone"
    )
    return (
        f"{counted(sum(facts.trials.values()), 'trial')} ({states or 'none'}) of the space {inert(facts.space)}, "
        f"{facts.hours:.2f} hours of training. The model was {distilled}, for {config['train.epochs']} epochs of which "
        f"{measured.metrics['epoch']} was kept, batch size {config['optim.batch_size']}, learning rate "
        f"{config['optim.learning_rate']:.3g}, loss {inert(config['loss.name'])}.{teacher} Every key is in "
        f"`model.json`. Promotion `{about.promotion}`."
    )


def answers_to_checklists(about: About, facts: StudyFacts, measured: Measured) -> Mapping[str, str]:
    """What the run answers of CLAIM and TRIPOD+AI, by the names that `reporting` uses."""
    config, model = measured.description["config"], measured.description["model"]
    parts = "; ".join(f"{_PARTS[part]}: {num:,} of {groups:,} patients" for part, (num, groups) in facts.parts.items())
    image = f"image to probabilities ({inert(model['backbone'])})"
    weights = "published weights" if model["pretrained"] else "weights from a file" if model["weights"] else "random"
    return {
        "kind": f"deep learning: {image}, distilled" if config["distill.alpha"] > 0 else f"deep learning: {image}",
        "goal": f"development and internal test of a model for: {inert(facts.task_title)}; more: {TODO}",
        "source": "drawn phantoms, no patients" if facts.drawn else TODO,
        "preprocessing": inert(_preprocessing(about)),
        "unusable": f"{facts.unusable:,} examples left out as missing or unreadable; other selection: {TODO}",
        "missing": "unknown labels are left out of the loss and of each metric; unreadable images are left out",
        "split": f"{_split(facts)}, seed {facts.seed}, hash `{facts.split_hash}`",
        "disjoint": _disjoint(facts),
        "model": "see [Model](#model); every key in `model.json`",
        "software": "see [How it was made](#how-it-was-made)",
        "initial": weights,
        "training": "see [How it was made](#how-it-was-made); every key in `model.json`",
        "selection": "by the score on validation: " + inert(measured.metrics["metric"]),
        "ensemble": _ensemble(about),
        "metrics": "see [How good it is](#how-good-it-is); all in `metrics.json`",
        "uncertainty": "95% intervals, 1,000 resamples of patients; "
        + counted(len(measured.metrics.get("seeds", [0])), "seed"),
        "explain": "`xlite explain`: what in an input an answer rests on",
        "internal": "see [How good it is](#how-good-it-is)",
        "external": f"none by this run; `xlite evaluate`: {TODO}",
        "numbers": f"{parts}; left out: {facts.unusable:,}; events: see [Data](#data)",
        "performance": "see [How good it is](#how-good-it-is)",
        "limits": "see [Limits](#limits)",
        "technical": "`model.onnx`, `model.json`, `metrics.json`, `thresholds.json`",
        "availability": f"software: X-Lite (Apache-2.0); this model and its data: {TODO}",
        "outcome": f"labels: {inert(', '.join(about.labels))}; how they were assessed: {TODO}",
        "predictors": "the pixels alone"
        + (f", and {', '.join(about.input_spec.auxiliary)}" if about.input_spec.auxiliary else ""),
        "updating": "none",
        "predictions": "preprocessing, `model.onnx`, calibration within it",
        "imbalance": inert(
            f"sampler {config['data.sampler']}, loss {config['loss.name']}, "
            f"class weights {config['loss.class_weights']}"
        ),
        "output": "calibrated probabilities; "
        + ("a threshold for each label" if about.thresholds else "the most probable class"),
        "differences": f"none known: parts of one data set; {TODO}",
        "poor": "unreadable files are listed and passed over; `predict.py` flags inputs unlike the training images",
    }


def _split(facts: StudyFacts) -> str:
    drawn_by_image = facts.split_kind == "patient" and not _patients_are_known(facts)
    return f"{_SPLITS['image']}, stratified on the labels" if drawn_by_image else _SPLITS[facts.split_kind]


def _patients_are_known(facts: StudyFacts) -> bool:
    """Whether a patient, or another group, has several examples."""
    return any(groups < num for num, groups in facts.parts.values())


def _disjoint(facts: StudyFacts) -> str:
    if facts.split_kind == "image":
        return f"image, not patient: {TODO} why"
    if not _patients_are_known(facts):
        return f"image: the data names no patients with several images; whether there are any: {TODO}"
    return f"patient (group). {_copies(facts)}"


def _copies(facts: StudyFacts) -> str:
    """Whether pictures of one part are in another."""
    if not facts.pictures:
        return "Whether copies of a picture are in two parts is not known."
    crossing, near = facts.pictures["in_several_parts"], facts.pictures["near_sets"]
    if not crossing and not near:
        return "Copies of a picture are never in two parts."
    return (
        f"Examples with a copy in another part: {crossing:,}; sets of almost identical pictures that lie in several "
        f"parts: {near:,}."
    )


def _timed_on(facts: StudyFacts, measured: Measured) -> str:
    """The device of the promotion's timing and, of a CPU, its threads; see `latency_target`."""
    kind, _, threads = facts.latency_device.partition(":")
    trained_on = facts.promotion.summary.device if facts.promotion else ""
    if (kind or trained_on) != "cpu":
        return f"on {inert(trained_on if trained_on not in ('', 'cpu') else 'a GPU')}"
    return f"on {counted(int(threads or measured.description['config']['train.threads']), 'thread')} of a CPU"


def _ensemble(about: About) -> str:
    return "one" if about.num_models == 1 else f"{about.num_models}, whose logits are averaged in one graph"


def _preprocessing(about: About) -> str:
    values = dict(about.preprocess)
    name = values.pop("kind")
    return f"{name}({', '.join(f'{key}={value}' for key, value in values.items() if key != 'class')})"
