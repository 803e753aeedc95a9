"""Folders of tiny labelled images and tables, for the tests of their reader."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from xlite.data.sources import ParsedDataset
from xlite.data.sources.folder import read_images
from xlite.errors import InputError

_, PNG = cv2.imencode(".png", np.tile(np.arange(8, dtype=np.uint8), (6, 1)))


def write_images(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG.tobytes())
    return folder


def write_table(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def numbered(count: int, ending: str = ".png") -> list[str]:
    return [f"scan{i:02d}{ending}" for i in range(count)]


def labelled(folder: Path, header: Sequence[str], *columns: Sequence[object], name: str = "labels.csv") -> Path:
    """A folder with images scan00.png ... and a table of them with these columns."""
    names = numbered(len(columns[0]))
    write_images(folder, names)
    write_table(folder / name, [["image", *header], *zip(names, *columns, strict=True)])
    return folder


def error_of(folder: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_images(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def note_with(parsed: ParsedDataset, text: str) -> str:
    (line,) = [note for note in parsed.notes if text in note]
    return line
