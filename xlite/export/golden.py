"""golden/: a package's own test, 8 inputs in raw formats and the probabilities that are expected of them."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xlite.data.decode import ImagePreprocess
from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import draw_records
from xlite.data.phantom.lumbar import lumbar_phantom_folder, write_lumbar_phantom
from xlite.data.phantom.stm import stm_phantom_folder, write_stm_phantom
from xlite.data.preprocess import Preprocess
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.data.sources.rsna import read_rsna
from xlite.data.table import Item
from xlite.export.nameless import copy_nameless
from xlite.package.golden import EXPECTED, golden_source
from xlite.package.predict import PackagePredictor
from xlite.storage.files import write_json

NUM_INPUTS = 8
_SEED = 0
_CHEST_PX, _SLICE_PX, _SCAN = 256, 64, 64


@dataclass(frozen=True)
class RawExample:
    """One example's raw files, and the integers that the model takes beside it; a whole scan has no detail."""

    item: Item
    auxiliary: tuple[int, ...] = ()


def has_phantom(preprocess: Preprocess) -> bool:
    """Whether there are drawn inputs for this preprocessing; there are none for a class of the user's own."""
    return type(preprocess) in _PHANTOMS


def own_examples(
    items: Sequence[Item], auxiliary: np.ndarray | None, preprocess: Preprocess, positions: np.ndarray
) -> list[RawExample]:
    """Training examples, evenly from those at `positions`. A scan is taken whole, not by the window."""
    if isinstance(preprocess, ScanLinePreprocess):
        scans = list(dict.fromkeys(items[k].path for k in positions))
        return [RawExample(Item((scans[k],))) for k in _evenly(len(scans))]
    chosen = positions[_evenly(len(positions))].tolist()
    return [
        RawExample(items[k], () if auxiliary is None else tuple(int(value) for value in auxiliary[k])) for k in chosen
    ]


def write_golden(package: Path, predictor: PackagePredictor, own: Sequence[RawExample] | None) -> None:
    """Write the folder anew, by the whole path from the copied raw file to the ONNX graph's answer.

    Args:
        package: with its model.onnx, which `predictor` is of.
        own: examples to copy, without headers; None draws phantoms.

    Raises:
        InputError: a file whose headers cannot be removed, or that cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given = own
        if given is None:
            given = _PHANTOMS[type(predictor.preprocess)](predictor.preprocess, Path(scratch))
        most = predictor.about.input_spec.auxiliary_max
        given = [one for one in given if all(a <= b for a, b in zip(one.auxiliary, most, strict=False))]
        folder = (package / EXPECTED).parent
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        copies: dict[Path, Path] = {}
        for path in (path for one in given for path in one.item.paths):
            if path not in copies:  # slices of one series are in several stacks
                copies[path] = copy_nameless(path, folder / f"input_{len(copies) + 1:03d}")
    inputs, told = [], []
    for one in given:
        item = Item(tuple(copies[path] for path in one.item.paths), one.item.detail)
        names = [path.name for path in item.paths]
        inputs.append({"files": names, "detail": item.detail, "auxiliary": list(one.auxiliary)})
        (rows,) = predictor.rows([predictor.inputs(*golden_source(folder, inputs[-1]))])
        told.append(np.round(rows.astype(np.float64), 7).tolist())
    write_json(package / EXPECTED, {"inputs": inputs, "probabilities": told})


def _evenly(num: int) -> list[int]:
    return sorted(set(np.linspace(0, num - 1, NUM_INPUTS).round().astype(int).tolist()))


def _chests(preprocess: Preprocess, folder: Path) -> list[RawExample]:
    examples = []
    for number, picture in enumerate(draw_records(NUM_INPUTS, _SEED)):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), draw_chest(picture, seed=_SEED, image_px=_CHEST_PX))
        examples.append(RawExample(Item((path,))))
    return examples


def _levels(preprocess: Preprocess, folder: Path) -> list[RawExample]:
    assert isinstance(preprocess, SlicePreprocess)
    data = lumbar_phantom_folder(folder, num_studies=10, image_px=_SLICE_PX, seed=_SEED)
    write_lumbar_phantom(data, num_studies=10, image_px=_SLICE_PX, seed=_SEED)
    table = read_rsna(data, num_slices=preprocess.num_slices).table
    assert table.auxiliary is not None
    rows = [row for row in range(len(table)) if row // 5 in (0, 1)][:NUM_INPUTS]  # two studies share their slices
    return [RawExample(table.items[row], (int(table.auxiliary[row, 0]),)) for row in rows]


def _scans(preprocess: Preprocess, folder: Path) -> list[RawExample]:
    data = stm_phantom_folder(folder, num_scans=10, lines=_SCAN, points=_SCAN, seed=_SEED)
    write_stm_phantom(data, num_scans=10, lines=_SCAN, points=_SCAN, seed=_SEED)
    return [RawExample(Item((path,))) for path in sorted(data.glob("scans/*.npz"))[:NUM_INPUTS]]


_PHANTOMS: Mapping[type[Preprocess], Callable[[Preprocess, Path], list[RawExample]]] = {
    ImagePreprocess: _chests,
    SlicePreprocess: _levels,
    ScanLinePreprocess: _scans,
}
