"""Students to compare: what each answers, cost and saw, and the patients that none was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xlite.data.dataset import Dataset
from xlite.errors import InputError
from xlite.ledger import Ledger, TrialRecord
from xlite.predictor import Predictor
from xlite.storage.files import fingerprint, read_json_object
from xlite.study.comparison import Rows, Side, is_defined
from xlite.tasks.target_spec import TargetSpec
from xlite.train.inference import predict_logits

ComparedPart = Literal["val", "test"]


@dataclass(frozen=True, eq=False)
class Contestant:
    """One student.

    Attributes:
        name: as it was named.
        predictor: its models.
        descriptions: of each model, see `xlite.models.artifact`.
        dataset: with its parts; the training part is the one it was trained on.
        whole_patients: whether the parts keep patients whole.
        target_spec: of its task.
        ledger: of its study; None of a package without one.
        trained_on: key of split, data (subset included) and teacher; None of a package without a study.
        size_mb, latency_ms: of all models together; None where not known, as all below.
        epochs, device_s: of its training; search_device_s: of all trials of the search that it is the winner of.
        device: on which it was trained.
    """

    name: str
    predictor: Predictor
    descriptions: tuple[Mapping[str, Any], ...]
    dataset: Dataset
    whole_patients: bool
    target_spec: TargetSpec
    ledger: Ledger | None
    trained_on: str | None = None
    size_mb: float | None = None
    latency_ms: float | None = None
    epochs: int | None = None
    device_s: float | None = None
    search_device_s: float | None = None
    device: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The hashes of its models' weights."""
        return tuple(str(each["weights_sha256"]) for each in self.descriptions)

    @property
    def by_folds(self) -> bool:
        """Whether the validation part was dealt into folds: some of its models were trained on each row of it."""
        return any("-fold" in str(each.get("split_hash")) for each in self.descriptions)

    def seen(self, part: ComparedPart) -> np.ndarray:
        """Positions of rows on which this part's numbers would flatter it: trained on, or of test also chosen by."""
        parts = ["train", "val"] if part == "test" or self.by_folds else ["train"]
        return np.concatenate([self.dataset.parts[each] for each in parts])

    def answers(self, ids: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """(N, ..., L) probabilities of these labels for these ids."""
        places = places_of(self.dataset, ids)
        data = self.dataset.unsealed()
        device = self.predictor.device
        logits = np.mean(
            [predict_logits(model, data, places, device=device) for model in self.predictor.models], axis=0
        )
        return self.target_spec.probabilities(logits)[..., [self.dataset.labels.index(label) for label in labels]]


def places_of(dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """(N,) positions of the examples with these ids (N,)."""
    order = np.argsort(dataset.ids)
    return order[np.searchsorted(dataset.ids, ids, sorter=order)]


def configurations(students: Sequence[Contestant]) -> dict[str, list[Contestant]]:
    """The students by configuration: those that differ in the seed of training alone are its seeds.

    A package without a study is a configuration of its own: what it was trained on is not known.

    Returns:
        By the first one's name; the same student named twice is two.
    """
    out: dict[str, list[Contestant]] = {}
    keys: dict[str, tuple[str, set[Any]]] = {}
    for student in students:
        config = dict(student.descriptions[0].get("config", {}))
        seed = config.pop("train.seed", None)
        key = fingerprint([config, list(student.dataset.labels), len(student.descriptions), student.trained_on])
        same = next((name for name, (known, seeds) in keys.items() if known == key and seed not in seeds), None)
        if same is None or not config or student.trained_on is None:
            name = student.name
            while name in out:
                name += " again"
            out[name], keys[name] = [student], (key, {seed})
        else:
            out[same].append(student)
            keys[same][1].add(seed)
    return out


def judged_on(students: Sequence[Contestant], part: ComparedPart) -> tuple[Rows, np.ndarray, list[str]]:
    """The rows of all students' `part` that none of them has seen, with the labels that all know; ids; lines to say.

    Raises:
        InputError: different kinds of targets, no label in common, other targets of the same image, no row is left, or
            the score is undefined on those that are.
    """
    first = students[0]
    for student in students[1:]:
        if student.target_spec.kind != first.target_spec.kind:
            raise InputError(
                f"{first.name} answers {first.target_spec.kind} targets, {student.name} {student.target_spec.kind}: "
                "they do not compare"
            )
    labels, notes = _common_labels(students)
    ids = _unseen(students, part)
    num = len(first.dataset.parts[part])
    if not len(ids):
        why = "its folds were trained on it; " if part == "val" and any(each.by_folds for each in students) else ""
        raise InputError(
            f"{' and '.join(each.name for each in students)}: {why}no {part} image of all is left that none was "
            "trained on or chosen by" + ("; use --part test" if why else "; search on the same --split and --seed")
        )
    places = places_of(first.dataset, ids)
    columns = [first.dataset.labels.index(label) for label in labels]
    targets = first.dataset.targets[places][..., columns]
    for student in students[1:]:
        own = student.dataset.targets[places_of(student.dataset, ids)]
        own = own[..., [student.dataset.labels.index(label) for label in labels]]
        if own.shape != targets.shape or not np.array_equal(own, targets, equal_nan=True):
            raise InputError(
                f"{first.name} and {student.name}: the same images have other labels; compare one data set"
            )
    groups = first.dataset.groups[places]
    patients = len(np.unique(groups))
    if any(len(each.dataset.parts[part]) != len(ids) for each in students):
        notes.append(
            f"Their {part} parts differ: compared on {len(ids):,} of {num:,} images ({patients:,} patients), which all "
            "have there and none was trained on or chosen by"
        )
    if patients < 2:
        raise InputError(f"the {len(ids)} {part} images left are of one patient; an interval needs several")
    rows = Rows(targets, groups, labels, first.target_spec)
    if not is_defined(rows):  # said here, before a look at test is recorded
        raise InputError(
            f"{first.target_spec.score} is undefined on the {len(ids)} {part} images left (no label both with and "
            "without); compare on more images"
        )
    return rows, ids, notes


def final_of(package: Path, ledger: Ledger) -> TrialRecord | None:
    """The promotion whose models lie in `package`; None where it was cut off before the ledger had it.

    A package of an earlier version does not say which, and is taken for the last.
    """
    finals = ledger.finals()
    identity = read_json_object(package / "metrics.json").get("identity")
    same = [row for row in finals if identity is None or (row.promotion and row.promotion.identity == identity)]
    return same[-1] if same else None


def sides_of(named: Mapping[str, Sequence[Contestant]], rows: Rows, ids: np.ndarray) -> list[Side]:
    """The answers of every configuration's seeds."""
    return [Side(name, tuple(each.answers(ids, rows.labels) for each in seeds)) for name, seeds in named.items()]


def _common_labels(students: Sequence[Contestant]) -> tuple[tuple[str, ...], list[str]]:
    """The labels that all know, in the first one's order, and a line for each that lacks some."""
    sets = [set(each.dataset.labels) for each in students]
    common = set.intersection(*sets)
    first = students[0]
    if not common:
        raise InputError(f"{' and '.join(each.name for each in students)} have no label in common")
    if first.target_spec.kind != "multilabel" and any(each.dataset.labels != first.dataset.labels for each in students):
        raise InputError(f"{' and '.join(each.name for each in students)} choose between different classes")
    notes = [
        f"{each.name} has no {', '.join(lacking)}: left out"
        for each in students
        if (lacking := [label for label in first.dataset.labels if label not in each.dataset.labels])
    ]
    notes += [
        f"{first.name} has no {', '.join(more)} of {each.name}: left out"
        for each in students
        if (more := [label for label in each.dataset.labels if label not in first.dataset.labels])
    ]
    return tuple(label for label in first.dataset.labels if label in common), notes


def _unseen(students: Sequence[Contestant], part: ComparedPart) -> np.ndarray:
    """(N,) sorted ids in the `part` of all; with different splits, also no patient whom one of them has seen."""
    ids = set.intersection(*(set(each.dataset.ids[each.dataset.parts[part]].tolist()) for each in students))
    for each in students:
        ids -= set(each.dataset.ids[each.seen(part)].tolist())
    if len({each.dataset.split_hash for each in students}) > 1:
        first = students[0].dataset
        known = [each for each in students if each.whole_patients]
        patients = {group for each in known for group in each.dataset.groups[each.seen(part)].tolist()}
        chosen = sorted(ids)
        groups = first.groups[places_of(first, np.array(chosen))].tolist() if chosen else []
        ids = {name for name, group in zip(chosen, groups, strict=True) if group not in patients}
    return np.array(sorted(ids), dtype=students[0].dataset.ids.dtype)
