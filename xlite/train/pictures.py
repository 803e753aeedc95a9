"""Pictures of a run in TensorBoard."""

import struct
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

from xlite.train.hparams import PICTURES, write_events

_SIZE = slice(16, 24)  # of a PNG file: width and height


def write_pictures(folder: Path, pictures: Mapping[str, bytes], description: str, *, step: int = 0) -> None:
    """Replace the pictures of the run in `folder`.

    Args:
        pictures: tag -> PNG file, red, green and blue; a tag's part before the first / is its group in the page.
        description: Markdown, shown with each of them.
        step: an epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = Summary()
    for tag, png in pictures.items():
        width, height = struct.unpack(">II", png[_SIZE])
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        about = SummaryMetadata(display_name=tag, summary_description=description)
        summary.value.add(tag=tag, image=image, metadata=about)
    write_events(folder / PICTURES, summary, step=step)
