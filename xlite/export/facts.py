"""What a card says of the study behind a model: its data, search, promotion and cost. No paths, no ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xlite.data.dataset import Dataset
from xlite.data.phantom.writing import RECORD
from xlite.ledger import Ledger, TrialRecord
from xlite.ledger.manifest import FILE as STUDY_FILE
from xlite.package.manifest import MODEL
from xlite.storage.files import read_json_object
from xlite.study.contestants import final_of
from xlite.study.options import Study
from xlite.tasks.prepare import Prepared


@dataclass(frozen=True)
class StudyFacts:
    """Numbers and names of a study.

    Attributes:
        name: the study's.
        task_title: e.g. "NIH ChestX-ray14, 14 findings"; drawn: whether the data is the built-in phantoms.
        parts: examples and groups (patients) of train, val, test and, if there is one, held_out.
        positives: by label, known positives and known values in train and val.
        unusable: examples that were left out as missing or unreadable.
        split_kind: "patient", "official" or "image"; split_hash, data_hash: 16 hex digits.
        teacher: its name or ""; space: the search space's file name.
        trials: how many ended, by state; hours: that they took together.
        promotion: the ledger's record; None where the ledger has none.
        search_value: of the promoted trial, in the search.
        reads_of_test: how often the study's test part has been read.
        versions: of Python and packages, when the study began or continued last.
        latency_device: where the study asked for latencies, "cpu", "cpu:4", ...; "" where it did not say.
        pictures: how many are alike, see `PictureFindings.counts`; {} if not known.
    """

    name: str
    task_title: str
    drawn: bool
    parts: Mapping[str, tuple[int, int]]
    positives: Mapping[str, Mapping[str, tuple[int, int]]]
    unusable: int
    split_kind: str
    split_hash: str
    data_hash: str
    seed: int
    teacher: str
    space: str
    trials: Mapping[str, int]
    hours: float
    promotion: TrialRecord | None
    search_value: float | None
    reads_of_test: int
    versions: Mapping[str, str]
    latency_device: str = ""
    pictures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What promotion wrote: metrics.json, thresholds.json, the first model's description, bytes of model.onnx."""

    metrics: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    description: Mapping[str, Any]
    onnx_bytes: int

    @classmethod
    def read(cls, folder: Path) -> "Measured":
        """From a promotion's folder, with its model.onnx."""
        metrics = read_json_object(folder / "metrics.json")
        return cls(
            metrics,
            read_json_object(folder / "thresholds.json"),
            read_json_object((folder / metrics["models"][0]).with_suffix(".json")),
            (folder / MODEL).stat().st_size,
        )


def facts_of(study: Study, prepared: Prepared, ledger: Ledger, promoted: Path) -> StudyFacts:
    """Read them; of the test part only how many examples it has.

    Args:
        promoted: the folder of the promotion that is packaged.
    """
    manifest = read_json_object(study.options.root / STUDY_FILE)
    data, rows = prepared.full, [row for row in ledger.rows() if row.phase == "search"]
    final = final_of(promoted, ledger)
    origin = final.promotion.promoted_from if final and final.promotion else None
    states = [row.state for row in rows]
    return StudyFacts(
        name=study.options.name,
        task_title=study.task.title,
        drawn=(prepared.request.folder / RECORD).is_file(),
        parts={part: (len(at), len(np.unique(data.groups[at]))) for part, at in data.parts.items()},
        positives={part: _positives(data, part) for part in ("train", "val")},
        unusable=int(prepared.understood.get("unusable", 0)) + int(prepared.understood.get("missing", 0)),
        split_kind=prepared.split_kind,
        split_hash=data.split_hash,
        data_hash=data.content_hash(),
        seed=study.options.seed,
        teacher=str((manifest.get("teacher") or {}).get("name", "")),
        space=study.options.space.name,
        trials={state: states.count(state) for state in dict.fromkeys(states)},
        hours=sum(row.summary.seconds for row in rows) / 3600,
        promotion=final,
        search_value=next((row.value for row in rows if row.number == origin), None),
        reads_of_test=len(ledger.test_reads()),
        versions=manifest.get("versions", {}),
        latency_device=manifest.get("latency_device", ""),
        pictures=prepared.understood.get("pictures", {}),
    )


def _positives(data: Dataset, part: Any) -> dict[str, tuple[int, int]]:
    targets = data.targets[data.part(part)].reshape(-1, len(data.labels))
    known = np.isfinite(targets)
    counts = zip(np.nansum(targets, axis=0).astype(int).tolist(), known.sum(axis=0).tolist(), strict=True)
    return dict(zip(data.labels, counts, strict=True))
