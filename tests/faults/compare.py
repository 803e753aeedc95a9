"""What a study left behind, beside what an uninterrupted one of the same seed leaves."""

import csv
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import NUM_IMAGES, NUM_TRIALS, Place
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xlite.console import SilentConsole
from xlite.ledger import Ledger, TrialRecord, study_storage
from xlite.models.artifact import load_artifact
from xlite.study.rungs import REDUCTION_FACTOR, first_rung, rungs
from xlite.train.hparams import curve_files
from xlite.train.run import TrainingRun

logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of each purge, which is what is wanted
MEASURED = {"seconds", "seconds_by_kind", "device_seconds", "images_per_s"}
MEASURED |= {"latency_ms", "latency_spread_ms", "latency_median_ms", "latency_p95_ms", "reference_ms"}
"""Keys of records that no two runs share, however they went; all else is compared to the last bit."""
MEASURED_COLUMNS = {"date", "seconds", "device_seconds", "inference_time_ms", "inference_spread_ms"}
MEASURED_COLUMNS |= {"inference_median_ms", "inference_p95_ms"}
MEASURED_TAGS = ("seconds/", "speed/")
EPOCH_TAG = "val/loss"


def rows_of(place: Place) -> list[TrialRecord]:
    """The ledger's search rows, then its promotions."""
    with Ledger.open(study_storage(place.study), "s", create=False) as ledger:
        return [*ledger.rows(), *ledger.finals()]


def differences(place: Place, reference: Place) -> list[str]:
    """Everything in which a study of one trial at a time is not its uninterrupted twin."""
    out = []
    for what, found, expected in _parts(place, reference):
        if found != expected:
            out.append(f"{place.name}: {what}: {_first_difference(found, expected)}")
    return out + curve_gaps(place)


def _parts(place: Place, reference: Place) -> Iterator[tuple[str, Any, Any]]:
    places = (place, reference)
    yield "ledger", *([_plain_row(row) for row in rows_of(p)] for p in places)
    yield "leaderboard", *(_leaderboard(p) for p in places)
    files = [sorted(str(f.relative_to(p.study)) for f in _weights(p)) for p in places]
    yield "weights", *files
    for name in sorted(set(files[0]) & set(files[1])):
        yield name, *((p.study / name).read_bytes() for p in places)
        described = Path(name).with_suffix(".json")
        yield str(described), *(_json(p.study / described) for p in places)
    for name in ("metrics.json", "thresholds.json"):
        yield name, *(_json(p.study / "promoted" / name) for p in places)
    for name in sorted({f.parent.relative_to(reference.study) for f in _weights(reference)}):
        yield f"{name} curves", *(events(_run(p.study / name)) for p in places)


def curve_gaps(place: Place) -> list[str]:
    """Curves in TensorBoard that lack a step, or have one twice; at thresholds there are the best epochs alone."""
    out = []
    for folder in sorted({file.parent for file in _weights(place)}):
        for tag, points in events(_run(folder)).items():
            if tag == "rung" or tag.startswith("test"):  # how the run ended, at its last epoch
                continue
            steps = [step for step, _ in points]
            whole = sorted(set(steps)) if tag.endswith("_at_thresholds") else list(range(1, len(points) + 1))
            if steps != whole:
                out.append(f"{place.name}: {folder.name} {tag}: steps {steps}")
    return out


def invariants(place: Place) -> list[str]:
    """What holds of any study, however many trials ran at once and however often it was cut off."""
    rows = [row for row in rows_of(place) if row.phase == "search"]
    out = [f"{row.number} is {row.state}" for row in rows if row.state not in ("complete", "pruned")]
    if [row.number for row in rows] != list(range(NUM_TRIALS)):
        out.append(f"numbers {[row.number for row in rows]}")
    out += asha_doubts(rows, rungs(5, first_rung(5, 0, NUM_IMAGES)))
    with (place.study / "leaderboard.csv").open() as file:
        listed = sorted(int(row["trial"]) for row in csv.DictReader(file) if row["phase"] != "final")
    if listed != list(range(NUM_TRIALS)):
        out.append(f"leaderboard {listed}")
    return [f"{place.name}: {line}" for line in out] + trained_alone(place, rows) + curve_gaps(place)


def trained_alone(place: Place, rows: Sequence[TrialRecord]) -> list[str]:
    """Trials whose curve or weights are not those of the same configuration trained here, in one go."""
    out = []
    fit_one = _fitting(place)
    for row in rows:
        curve, state = fit_one(row.overrides, len(row.curve))
        if curve != row.curve:
            out.append(f"{place.name}: trial {row.number}: curve {row.curve}, alone {curve}")
        there, _ = load_artifact(place.study / "trials" / f"{row.number:05d}" / "student.safetensors")
        if there.keys() != state.keys() or not all(torch.equal(there[key], state[key]) for key in state):
            out.append(f"{place.name}: trial {row.number}: weights are not those of its best epoch trained alone")
    return out


def _fitting(place: Place) -> Callable[[Mapping[str, Any], int], tuple[dict[int, float], dict[str, torch.Tensor]]]:
    from xlite.commands.reopen import reopen
    from xlite.device import choose_device
    from xlite.study.teacher import obtain_bank, obtain_teacher
    from xlite.train.loop import fit

    console = SilentConsole()
    opened = reopen(place.study, console)
    dataset = opened.prepared.search
    bank = obtain_bank(opened.study, obtain_teacher(opened.study, dataset, console).teacher, dataset, console)
    device = choose_device("fp32", kind="cpu")

    def fit_one(overrides: Mapping[str, Any], num_epochs: int) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
        config = opened.study.base.override(overrides, source="alone")
        curve: dict[int, float] = {}
        best: dict[str, torch.Tensor] = {}
        run = fit(TrainingRun(config, opened.study.task, dataset, device, bank))
        for report in itertools.islice(run, num_epochs):
            curve[report.epoch] = report.best_value
            best = report.best_state or best
        return curve, {name: value.clone() for name, value in best.items()}

    return fit_one


def asha_doubts(rows: Sequence[TrialRecord], at: Sequence[int]) -> list[str]:
    """Trials stopped or let go on at a rung as no order of the recorded values explains.

    Trials that ended before this one began were on the rung; of those that overlapped with it, any may have been.
    """
    out = []
    for row in rows:
        for rung in (rung for rung in at if rung in row.curve):
            others = [other for other in rows if other is not row and rung in other.curve]
            before = [o for o in others if o.finished and row.started and o.finished < row.started]
            unknown = [o for o in others if o not in before and not _after(o, row)]
            stopped = row.state == "pruned" and max(row.curve) == rung
            subsets = itertools.chain.from_iterable(
                itertools.combinations(unknown, size) for size in range(len(unknown) + 1)
            )
            if not any(
                _stops(row.curve[rung], [o.curve[rung] for o in (*before, *some)]) == stopped for some in subsets
            ):
                out.append(f"trial {row.number} {'stopped' if stopped else 'went on'} at epoch {rung} without reason")
        if row.state == "pruned" and max(row.curve, default=0) not in at:
            out.append(f"trial {row.number} was stopped between rungs, after {max(row.curve, default=0)} epochs")
    return out


def _after(other: TrialRecord, row: TrialRecord) -> bool:
    return bool(row.finished and other.started and other.started > row.finished)


def _stops(value: float, recorded: Sequence[float]) -> bool:
    return bool(recorded) and value < float(np.percentile(recorded, (1 - 1 / REDUCTION_FACTOR) * 100))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves as TensorBoard shows them, without measured times: tag -> (step, value)."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
        if not tag.startswith(MEASURED_TAGS)
    }


def _run(folder: Path) -> Path:
    """The TensorBoard run of a trial's folder or a promotion's."""
    return folder if folder.name == "promoted" else next((folder.parents[1] / "runs").glob(f"{folder.name} *"))


def epochs_redone(place: Place) -> tuple[int, int]:
    """(all, most after one fault) epochs that a run of a trial or the promotion trained again after it was taken up.

    Each process leaves a file of events. A process that follows another one counts as having redone at least the epoch
    that was cut off, and all that the earlier ones had finished and it trained again.
    """
    redone, seen = [], set()  # a promoted trial's files are copies
    for folder in sorted({file.parent for file in _weights(place)}):
        reached, processes = 0, 0
        for file in curve_files(_run(folder)):
            if file.name in seen:
                continue
            seen.add(file.name)
            steps = [step for step, _ in events(file).get(EPOCH_TAG, [])]
            if steps and processes:
                redone.append(max(1, reached - steps[0] + 1))
            reached, processes = max([reached, *steps]), processes + 1
    return sum(redone), max(redone, default=0)


def _weights(place: Place) -> list[Path]:
    files = [*place.study.glob("trials/*/student.safetensors"), *place.study.glob("promoted/*.safetensors")]
    return sorted(file for file in files if "checkpoint" not in file.name)


def _leaderboard(place: Place) -> list[dict[str, str]]:
    with (place.study / "leaderboard.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in MEASURED_COLUMNS} for row in csv.DictReader(file)]


def _plain_row(row: TrialRecord) -> dict[str, Any]:
    return _unmeasured({key: value for key, value in asdict(row).items() if key not in ("started", "finished")})


def _json(path: Path) -> Any:
    return _unmeasured(json.loads(path.read_text())) if path.exists() else None


def _unmeasured(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unmeasured(item) for key, item in value.items() if key not in MEASURED}
    return [_unmeasured(item) for item in value] if isinstance(value, list | tuple) else value


def _first_difference(found: Any, expected: Any, at: str = "") -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if found.get(key) != expected.get(key):
                return _first_difference(found.get(key), expected.get(key), f"{at}/{key}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{at}/{number}")
    return f"{at}: {str(found)[:200]} instead of {str(expected)[:200]}"
