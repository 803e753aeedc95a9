"""Sections on what a study took, what failed, and the commands and versions that made it."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlite.html_report.facts import Facts
from xlite.html_report.parts import Answer, Block, Cell, Lines, Section, Table, number
from xlite.ledger import TrialRecord
from xlite.report.training import collapse_section, hours_section
from xlite.storage.files import read_json_object

_OPTIONS = {
    **{"grid_trials": "--trials", "seed": "--seed", "split": "--split", "subset": "--subset"},
    **{"max_epochs": "--max-epochs", "promote_epochs": "--promote-epochs", "num_folds": "--folds"},
    **{"num_repeats": "--repeats", "promote_top": "--promote-top", "promote_seeds": "--promote-seeds"},
    **{"max_params": "--max-params", "max_mb": "--max-mb", "max_latency_ms": "--max-latency-ms"},
    **{"cpus_per_trial": "--cpus-per-trial", "gpus_per_trial": "--gpus-per-trial", "warm_start": "--warm-start"},
    **{"max_concurrent": "--max-concurrent", "latency_device": "--latency-device", "pretrained": "--pretrained"},
    **{"teacher_answers": "--teacher-answers", "thresholds": "--thresholds"},
    "guarantee_share": "--guarantee-share",
}
_LEFT_OUT = {"num_folds": 1, "num_repeats": 1, "cpus_per_trial": 1, "pretrained": "auto", "thresholds": "f1"}
_LEFT_OUT |= {"subset": "auto"}
"""Options at these values are the default of every task, so they are not told."""
_FILES = {"teacher_files": "--teacher", "teacher_trained_on": "--teacher-trained-on"}
_FLAGS = {"allow_other_split": "--allow-other-split", "allow_missing": "--allow-missing"}


def time_section(facts: Facts) -> Section:
    """Seconds by state and by what they were spent on; failures by reason."""
    study = facts.study
    rows: list[tuple[Cell, ...]] = []
    kinds: dict[str, float] = {}
    by_state: dict[str, list[TrialRecord]] = {}
    for row in study.rows:
        by_state.setdefault(f"{row.state} trials", []).append(row)
    trained = [row for row in study.finals if row.summary.seconds]
    groups = {**by_state, "promotions": trained, "baselines": list(facts.baselines)}
    for name, members in groups.items():
        if members:
            seconds = sum(row.summary.seconds for row in members)
            device = [row.summary.device_seconds for row in members if row.summary.device_seconds is not None]
            epochs = sum(row.summary.epochs or max(row.curve, default=0) for row in members)
            rows.append(
                (
                    name,
                    *(number(n, ".0f") for n in (len(members), epochs, seconds)),
                    number(sum(device) if device else None, ".0f"),
                )
            )
        for row in members:
            for kind, spent in row.summary.seconds_by_kind.items():
                kinds[kind] = kinds.get(kind, 0.0) + spent
    columns = ("what", "runs", "epochs", "seconds", "device seconds")
    blocks: list[Block] = [
        Table("Time; a device second is a second of one CPU core, or of one whole GPU", columns, tuple(rows), half=True)
    ]
    if total := sum(kinds.values()):
        longest = sorted(kinds.items(), key=lambda item: -item[1])
        shares = tuple((kind, number(seconds, ".1f"), number(seconds / total, ".1%")) for kind, seconds in longest)
        blocks.append(Table("What the time went into", ("kind", "seconds", "share"), shares, half=True))
    if failed := [row for row in study.rows if row.reason]:
        reasons: dict[str, list[int]] = {}
        for row in failed:
            reasons.setdefault(" ".join(row.reason.split()), []).append(row.number)
        told = tuple((reason, number(len(who), ".0f"), ", ".join(map(str, who))) for reason, who in reasons.items())
        blocks.append(Table("Failures, and trials left out", ("reason", "number", "trials"), told))
    answers = (hours_section(study), collapse_section(study))
    return Section("time", "Time and failures", tuple(Answer(each.title, each.conclusion) for each in answers), blocks)


def made_section(facts: Facts) -> Section:
    """Commands, versions and hashes."""
    blocks: list[Block] = []
    if commands := _commands(facts):
        blocks.append(
            Lines(
                "Commands, shortened; FOLDER and FILE stand for places on the machine", "\n".join(commands), half=True
            )
        )
    if versions := _versions(facts):
        blocks.append(Table("Versions", ("what", "version"), tuple(versions.items()), half=True))
    return Section("made", "How it was made", (), blocks)


def _commands(facts: Facts) -> list[str]:
    manifest, name = facts.manifest, facts.folder.name
    if manifest is None or manifest.options.get("phase", "search") != "search":
        return []
    methods = [row.promotion.thresholds for row in facts.study.finals if row.promotion]
    request, options = manifest.request, {**manifest.request, **manifest.options}
    options["thresholds"] = methods[-1] if methods else None
    options.setdefault("grid_trials", options.get("num_trials"))  # None of a grid that runs whole
    tune = ["xlite", "tune", "--study", name, "--task", str(options.get("task"))]
    data = request.get("folder")
    if isinstance(data, Path) and data.parent.name != "phantom":
        tune += ["--data", "FOLDER"]
    tune += ["--space", Path(str(options.get("space"))).stem if _is_shipped(options) else "FILE.py"]
    for key, option in _OPTIONS.items():
        value = options.get(key)
        if value is not None and value != _LEFT_OUT.get(key):
            tune += [option, str(value)]
    if objectives := options.get("objectives"):
        tune += ["--objectives", ",".join(objectives)]
    for key, option in _FILES.items():
        tune += [option, *["FILE"] * len(options[key])] if options.get(key) else []
    if weights := options.get("teacher_weights"):
        tune += ["--teacher-weights", *map(str, weights)]
    tune += [option for key, option in _FLAGS.items() if options.get(key)]
    for key, value in dict(options.get("settings") or {}).items():
        assignment = ["--image-size", str(value)] if key == "data.image_size" else ["--set", f"{key}={_word(value)}"]
        tune += assignment
    for key, value in dict(request.get("column_overrides") or {}).items():
        words = value if isinstance(value, list) else [value]
        tune += [f"--{key.replace('_', '-')}", *map(str, words)]
    return [shlex.join(tune), f"xlite report --study {shlex.quote(name)}"]


def _is_shipped(options: Mapping[str, Any]) -> bool:
    return Path(str(options.get("space"))).parent.name == "search_spaces"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _versions(facts: Facts) -> dict[str, str]:
    """As study.json has them; a file that another program wrote may hold anything."""
    if facts.manifest is None:
        return {}
    stored = read_json_object(facts.manifest.file)
    versions = stored.get("versions")
    found = {str(name): str(version) for name, version in versions.items()} if isinstance(versions, Mapping) else {}
    return found | ({"commit": str(stored["git"])} if stored.get("git") else {})
