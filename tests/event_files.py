"""What TensorBoard reads in a run's folder."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata


def content(folder: Path, tag: str) -> bytes | None:
    """The HParams tab's data under a tag."""
    found = _read(folder).summary_metadata.get(tag)
    return found and found.plugin_data.content


def values(folder: Path) -> dict[str, Any]:
    """The run's hyper-parameters, and its state if it has one."""
    info = metadata.parse_session_start_info_plugin_data(content(folder, metadata.SESSION_START_INFO_TAG))
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in info.hparams.items()}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves: tag -> (step, value)."""
    read = _read(folder)
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def pictures(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Tag -> step, width, height and PNG file of a picture."""
    found = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    width, height, png = value.tensor.string_val
                    found[value.tag] = (event.step, int(width), int(height), png)
    return found


def _read(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder))
    read.Reload()
    return read
