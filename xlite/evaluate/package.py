"""The promoted model that is evaluated, and what its package says of the study's own test part."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlite.errors import InputError
from xlite.package.manifest import MODEL, is_package, open_manifest
from xlite.package.predict import PackagePredictor
from xlite.package.predict import open_package as open_graph
from xlite.predictor import Predictor, load
from xlite.storage.files import fingerprint, read_json_object
from xlite.tasks import TASKS, find_task
from xlite.tasks.target_spec import TARGET_SPECS, TargetSpec

Answering = PackagePredictor | Predictor
"""A loaded model."""


@dataclass(frozen=True)
class PromotedModel:
    """A promoted package.

    Attributes:
        name: of its study, or of its folder.
        folder: of the package; study: of its study, None where it lies alone.
        task, kind: of the model.
        labels: L names.
        auxiliary_max: the largest auxiliary integers in its training data; () if not known.
        weights: SHA-256 of its graph; before there were packages, of each of its models.
        test: what metrics.json says of the study's test part; {} of a smaller model, which has none.
        curves: label -> reliability curve on that part, of calibrated probabilities; {} where there is none.
    """

    name: str
    folder: Path
    study: Path | None
    task: str
    kind: str
    labels: tuple[str, ...]
    auxiliary_max: tuple[int, ...]
    weights: tuple[str, ...]
    test: Mapping[str, Any]
    curves: Mapping[str, Any]

    def target_spec(self, task_option: str | None) -> TargetSpec:
        """Of the model's task, which is one of this library, or the user's own that `--task` names."""
        named = find_task(task_option) if task_option else None
        own = named if named is not None and named.name == self.task else TASKS.get(self.task)
        if own is not None and own.declared_target_spec is not None:
            return own.declared_target_spec
        if self.kind not in TARGET_SPECS:
            raise InputError(f"{self.folder}: {self.kind} targets of task {self.task}; give --task module:NAME of it")
        return TARGET_SPECS[self.kind]

    def predictor(self, target_spec: TargetSpec) -> Answering:
        """Its models, calibration and thresholds, checked and loaded."""
        if is_package(self.folder):
            return open_graph(self.folder)
        return load(self.folder, target_spec=target_spec)

    def identity(self, ids: list[str]) -> str:
        """Of its answers for these images, for the ledger."""
        return fingerprint(["evaluate", *sorted(self.weights), *sorted(ids)])

    def of_test(self, metric: str, label: str | None = None) -> float | None:
        """A metric on the study's test part, as promotion measured it; None where it is not known."""
        values = self.test.get("per_label", {}).get(label, {}) if label else self.test.get("metrics", {})
        calibration = self.test.get("calibration", {}).get("after", {})
        more = calibration.get("per_label", {}).get(label, {}) if label else calibration.get("scalars", {})
        value = {**values, **more}.get(metric)
        return float(value) if isinstance(value, int | float) else None


def open_package(path: Path) -> PromotedModel:
    """Read a package's descriptions; the weights are read by `predictor`.

    Raises:
        InputError: no such folder, no package in it, or a file that promotion did not write so.
    """
    folder = path.expanduser().resolve()
    if (folder / "study.json").is_file() and (folder / "promoted" / "metrics.json").is_file():
        folder = folder / "promoted"
    metrics_file, packaged = folder / "metrics.json", is_package(folder)
    if not (metrics_file.is_file() or packaged):
        if front := sorted(folder.glob("*/metrics.json")):
            names = ", ".join(file.parent.name for file in front[:6])
            raise InputError(f"--model {path}: the members of a front are in it; name one of {names}")
        what = "no promoted model (metrics.json) is in that folder" if folder.is_dir() else "no such folder"
        raise InputError(f"--model {path}: {what}; give a study's promoted/")
    metrics = read_json_object(metrics_file) if metrics_file.is_file() else {"test": {}}
    models = metrics.get("models", ())
    if not isinstance(metrics.get("test"), Mapping) or not (packaged or (isinstance(models, list) and models)):
        raise InputError(f"{metrics_file}: it names no models or has no test part; promote again")
    described = _of_package(folder) if packaged else _of_models(folder, models)
    promoted = folder.parent if folder.parent.name == "promoted" else folder  # a member of a front lies in it
    root = promoted.parent if (promoted.parent / "study.json").is_file() else None
    own = [] if root and folder.name == "promoted" else [folder.name]
    name = "-".join([root.name, *own] if root else own)
    reliability = folder / "reliability.json"
    curves = read_json_object(reliability).get("test", {}) if reliability.is_file() else {}
    after = curves.get("after", {}) if isinstance(curves, Mapping) else {}
    return PromotedModel(name, folder, root, *described, metrics["test"], after)


_Described = tuple[str, str, tuple[str, ...], tuple[int, ...], tuple[str, ...]]
"""Task, kind, labels, auxiliary_max and weights of a `PromotedModel`."""


def _of_package(folder: Path) -> _Described:
    about = open_manifest(folder)
    weights = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    return about.task, about.target_kind, about.labels, about.input_spec.auxiliary_max, (weights,)


def _of_models(folder: Path, models: Sequence[object]) -> _Described:
    about = [read_json_object(folder / Path(str(name)).with_suffix(".json").name) for name in models]
    try:
        weights = tuple(str(each["weights_sha256"]) for each in about)
        highest = tuple(about[0].get("auxiliary_max", ()))
        return str(about[0]["task"]), str(about[0]["target_kind"]), tuple(about[0]["labels"]), highest, weights
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / str(models[0])}: its description lacks {error}; promote again") from None
