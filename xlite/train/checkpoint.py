"""Where a run stands, on disk: tensors and JSON in safetensors, in two files written in turn, checked when read."""

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
        progress: what `fit` goes on from.
        about: JSON that belongs to it, e.g. the record so far.
    """

    progress: TrainState
    about: Mapping[str, Any]


def checkpoint_files(folder: Path, stem: str) -> tuple[Path, Path]:
    """The two files of a run; while one is written over, the other is whole."""
    return folder / f"{stem}.checkpoint-a.safetensors", folder / f"{stem}.checkpoint-b.safetensors"


def remove_checkpoints(folder: Path, stem: str) -> None:
    """For whoever has taken up the run's result; what else was kept for the next epoch goes too."""
    for file in checkpoint_files(folder, stem):
        file.unlink(missing_ok=True)
    remove_spares(folder, stem)


class Checkpoints:
    """The last two checkpoints of a run.

    Args:
        identity: JSON; what the run is a function of. Another run's checkpoint is never taken up.
    """

    def __init__(self, folder: Path, stem: str, *, identity: Mapping[str, Any]) -> None:
        self.next, self.last = checkpoint_files(folder, stem)
        self.identity = json.loads(json.dumps(dict(identity)))

    def save(self, checkpoint: Checkpoint) -> None:
        """On disk when this returns, in place of the one before the last.

        Raises:
            OSError: it cannot be written; the last one stands.
        """
        parts = tensor_bytes(checkpoint.progress.tensors)
        head = {
            "format": FORMAT,
            "identity": self.identity,
            "history": list(checkpoint.progress.history),
            "about": dict(checkpoint.about),
        }
        text = json.dumps(head)
        write_tensors(self.next, parts, {"run": text, "crc32": str(_digest(text, parts))})
        self.next, self.last = self.last, self.next

    def load(self) -> Checkpoint | None:
        """The one furthest on that is whole and of this run, None where there is none; `save` leaves it alone."""
        found = [(_read(file, self.identity), file) for file in (self.next, self.last)]
        there = [(checkpoint, file) for checkpoint, file in found if checkpoint is not None]
        if not there:
            return None
        checkpoint, file = max(there, key=lambda pair: len(pair[0].progress.history))
        if file == self.next:
            self.next, self.last = self.last, self.next
        return checkpoint


def _read(path: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """What stands in one file; None where there is none, it is damaged, or it is of another run."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            head = json.loads(metadata["run"])
            # copies: what it gives are views of the file, which will be written over
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  it is no dict
        if metadata["crc32"] != str(_digest(metadata["run"], tensor_bytes(tensors))):
            return None
        if head["format"] != FORMAT or head["identity"] != identity:
            return None
        return Checkpoint(TrainState(tuple(head["history"]), tensors), head["about"])
    except _DAMAGE:
        return None


def _digest(text: str, parts: Sequence[TensorBytes]) -> int:
    """CRC-32 over all that is told; it finds damage, it does not resist forgery. 3 GB/s here, SHA-256 1 GB/s."""
    heads = [f"{part.name} {part.dtype} {part.shape}" for part in parts]
    digest = zlib.crc32("\n".join([text, *heads]).encode())
    for part in parts:
        digest = zlib.crc32(part.data, digest)
    return digest
