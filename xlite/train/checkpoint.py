"""Checkpoints of a run: tensors and JSON in two safetensors files, written in turn and verified when read."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xlite.models.artifact import remove_spares
from xlite.storage.tensors import TensorBytes, tensor_bytes, write_tensors
from xlite.train.loop import TrainState

FORMAT = 6
_DAMAGE = (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError)


@dataclass(frozen=True)
class Checkpoint:
    """A run after an epoch.

    Attributes:
        progress: the state that `fit` resumes from.
        about: JSON stored with it, e.g. the record so far.
    """

    progress: TrainState
    about: Mapping[str, Any]


def checkpoint_files(folder: Path, stem: str) -> tuple[Path, Path]:
    """The two files of a run; while one is overwritten, the other is intact."""
    return folder / f"{stem}.checkpoint-a.safetensors", folder / f"{stem}.checkpoint-b.safetensors"


def unrecordable_file(folder: Path, stem: str) -> Path:
    """Exists where recording a step ended an earlier process of the run, with the reason; see `RecordingFailed`."""
    return folder / f"{stem}.unrecordable.txt"


def remove_checkpoints(folder: Path, stem: str) -> None:
    """Delete a run's checkpoints, what beside them concerns its steps, and the spare files of its artifact."""
    for file in (*checkpoint_files(folder, stem), unrecordable_file(folder, stem)):
        file.unlink(missing_ok=True)
    remove_spares(folder, stem)


class Checkpoints:
    """The last two checkpoints of a run.

    Args:
        identity: JSON values, see `TrainingRun.identity`; a checkpoint with another identity is ignored.
    """

    def __init__(self, folder: Path, stem: str, *, identity: Mapping[str, Any]) -> None:
        self.next, self.last = checkpoint_files(folder, stem)
        self.identity = json.loads(json.dumps(dict(identity)))

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the older checkpoint; it is on disk when this returns.

        Raises:
            OSError: it cannot be written; the last checkpoint is intact.
        """
        tensors = tensor_bytes(checkpoint.progress.tensors)
        head = {
            "format": FORMAT,
            "identity": self.identity,
            "history": list(checkpoint.progress.history),
            "about": dict(checkpoint.about),
        }
        text = json.dumps(head)
        write_tensors(self.next, tensors, {"run": text, "crc32": str(_digest(text, tensors))})
        self.next, self.last = self.last, self.next

    def load(self) -> Checkpoint | None:
        """The latest intact checkpoint of this run, or None; the next `save` does not overwrite it."""
        read = [(_read(file, self.identity), file) for file in (self.next, self.last)]
        usable = [(checkpoint, file) for checkpoint, file in read if checkpoint is not None]
        if not usable:
            return None
        checkpoint, file = max(usable, key=lambda pair: len(pair[0].progress.history))
        if file == self.next:
            self.next, self.last = self.last, self.next
        return checkpoint


def _read(path: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in a file; None if there is none, it is damaged, or it is of another run."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            head = json.loads(metadata["run"])
            # copies: these are views of the file, which will be overwritten
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
        if metadata["crc32"] != str(_digest(metadata["run"], tensor_bytes(tensors))):
            return None
        if head["format"] != FORMAT or head["identity"] != identity:
            return None
        return Checkpoint(TrainState(tuple(head["history"]), tensors), head["about"])
    except _DAMAGE:
        return None


def _digest(text: str, tensors: Sequence[TensorBytes]) -> int:
    """CRC-32 of all of it: detects damage, not forgery; 3 GB/s where SHA-256 takes 1 GB/s."""
    heads = [f"{tensor.name} {tensor.dtype} {tensor.shape}" for tensor in tensors]
    digest = zlib.crc32("\n".join([text, *heads]).encode())
    for tensor in tensors:
        digest = zlib.crc32(tensor.data, digest)
    return digest
