"""The teacher: the weighted mean of one or several members, of any kind."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xlite.data.dataset import Dataset
from xlite.data.input_spec import InputSpec
from xlite.device import Device
from xlite.distill.teachers.answer_table import SUFFIXES as TABLES
from xlite.distill.teachers.answer_table import read_table
from xlite.distill.teachers.answers import load_answers
from xlite.distill.teachers.member import Member
from xlite.distill.teachers.onnx_file import load_onnx
from xlite.distill.teachers.onnx_graph import open_graph
from xlite.distill.teachers.own import load_own
from xlite.distill.teachers.values import Answers
from xlite.errors import InputError
from xlite.models.artifact import load_artifact


@dataclass(frozen=True)
class Teacher:
    """Frozen members behind one.

    Attributes:
        members: at least one.
        input_spec: of the views it is asked about.
        weights: one for each member, above 0; () weighs all alike.
    """

    members: tuple[Member, ...]
    input_spec: InputSpec
    weights: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """16 hex digits over the members' keys, and their weights where these differ."""
        digest = hashlib.sha256("".join(member.key for member in self.members).encode())
        if len(set(self.weights)) > 1:
            digest.update(json.dumps([weight / sum(self.weights) for weight in self.weights]).encode())
        return digest.hexdigest()[:16]

    @property
    def names(self) -> str:
        """Of all members, for people."""
        return " + ".join(member.name for member in self.members)

    def answer(
        self, pixels: np.ndarray, auxiliary: np.ndarray | None, rows: np.ndarray, *, device: Device
    ) -> np.ndarray:
        """The weighted mean of the members that know a label, for views (B, *shape of the pixel file).

        Args:
            auxiliary: (B, E) integers beside the views, or None.
            rows: (B,) rows of the pixel file that these are views of.

        Returns:
            Logits (B, ..., L) float32, NaN where no member says anything.

        Raises:
            InputError: a member's answers are not finite.
        """
        told = [member.answer(pixels, auxiliary, rows, device=device) for member in self.members]
        if len(told) == 1:
            return told[0]
        return _weighted_mean(told, self.weights or (1.0,) * len(told))


def _weighted_mean(told: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """(B, ..., L) float32: of each entry, the mean over those that are not NaN."""
    total, weight = np.zeros_like(told[0]), np.zeros_like(told[0])
    for logits, share in zip(told, weights, strict=True):
        known = ~np.isnan(logits)
        total += np.where(known, np.float32(share) * logits, 0)
        weight += np.where(known, np.float32(share), 0)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def load_teacher(
    files: Sequence[Path],
    dataset: Dataset,
    *,
    kind: str,
    device: Device,
    answers: Answers | None = None,
    weights: Sequence[float] = (),
    allow_other_split: bool = False,
) -> Teacher:
    """Load one or several files: our own models, ONNX models, tables of answers.

    Args:
        kind: of the data's targets.
        answers: what the values of tables are that do not say it themselves.
        weights: one for each file; () weighs all alike.
        allow_other_split: accept a model of ours that was trained on another split and may have seen images judged
            here.

    Raises:
        InputError: a file cannot be read, or does not fit the data.
    """
    assert not weights or len(weights) == len(files), (weights, files)

    def member(file: Path) -> Member:
        match file_kind(file):
            case "own":
                return load_own(file, dataset, kind=kind, device=device, allow_other_split=allow_other_split)
            case "onnx":
                return load_onnx(file, dataset, kind=kind, device=device)
            case "table":
                return load_answers(file, dataset, kind=kind, answers=answers)

    return Teacher(tuple(map(member, files)), dataset.input_spec, tuple(weights))


def file_kind(file: Path) -> Literal["own", "onnx", "table"]:
    """What a teacher's file is to be, by its suffix.

    Raises:
        InputError: no such kind.
    """
    if file.suffix in (".safetensors", ".json"):
        return "own"
    if file.suffix == ".onnx":
        return "onnx"
    if file.suffix in TABLES:
        return "table"
    raise InputError(
        f"{file}: not a model; give its .safetensors or .onnx file, or a table of its answers ({', '.join(TABLES)})"
    )


def check_file(file: Path, answers: Answers | None, device: Device) -> None:
    """Open a teacher's file, before there is data.

    Raises:
        InputError: it cannot be used, whatever the data.
    """
    match file_kind(file):
        case "own":
            load_artifact(file)
        case "onnx":
            open_graph(file, device)
        case "table":
            read_table(file, answers)
