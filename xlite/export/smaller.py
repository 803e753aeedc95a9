"""A package whose graph is another one: 8-bit integers or half precision, with what that costs beside it."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from xlite.errors import InputError
from xlite.export.deliver import check_place
from xlite.export.judged import Ground, Judged
from xlite.package.about import About
from xlite.package.golden import EXPECTED, golden_source
from xlite.package.manifest import MANIFEST, MODEL, manifest_files, write_manifest
from xlite.package.predict import PackagePredictor, open_package
from xlite.storage.files import read_json_object, write_json
from xlite.storage.folders import replace_folder

MEASURED = "smaller.json"
_NOT_TAKEN = (MANIFEST, MODEL, "metrics.json", "reliability.json", "curves.json")
"""What is of the fp32 model alone, as are its weights for PyTorch: its results on test."""
_USE = f"""
## This version

`{MODEL}` is {{precision}}; [MODEL_CARD.md](MODEL_CARD.md) ends with what that costs. `xlite explain` needs PyTorch's
weights, which only the fp32 package has.
"""
_EXACT = """
On an x86 CPU without 8-bit dot products (VNNI) a session of your own needs
`options.add_session_config_entry("session.x64quantprecision", "1")`: without it sums overflow there, and answers are
wrong. `predict.py` and `xlite predict` see to it.
"""


def write_smaller(source: Path, out: Path, taken: Judged, judged: Sequence[Judged], ground: Ground) -> None:
    """Write `out`: the package in `source` with another graph; labels, thresholds and calibration are the same.

    The expected answers in golden/ are made anew. smaller.json has what was measured, of every graph that was tried.

    Raises:
        InputError: `out` is there, and is not what an earlier export wrote.
    """
    check_free(out)
    about = replace(ground.about, precision=taken.name)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        names = manifest_files(source)
        weights = [Path(name) for name in names if name.endswith(".safetensors")]
        left = {*_NOT_TAKEN, *(str(file.with_suffix(end)) for file in weights for end in (".safetensors", ".json"))}
        for name in names:
            if name not in left:
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, made / name)
        onnx.save(_described(taken.graph, about), made / MODEL)
        values = {"precision": taken.name, "chosen": to_json(taken), "measured": [to_json(each) for each in judged]}
        write_json(made / MEASURED, values)
        _append(made / "MODEL_CARD.md", _card(taken, ground))
        _append(made / "USE.md", _USE.format(precision=taken.name) + (_EXACT if taken.name == "int8" else ""))
        if (made / EXPECTED).is_file():
            _renew_golden(open_package(made / MODEL), made)
        write_manifest(made, about)
        replace_folder(made, out)


def check_free(out: Path) -> None:
    """Check that `out` may be written.

    Raises:
        InputError: something else lies there.
    """
    if out.exists() and not (out / MEASURED).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name another folder with --out")
    check_place(out)
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder; name another with --out")


def to_json(judged: Judged) -> dict[str, Any]:
    """What was measured of a graph, as JSON values."""
    values = asdict(replace(judged, graph=b""))
    del values["graph"]
    return {**values, "size_mb": judged.size_mb, "loss": judged.loss}


def fp32_package(folder: Path) -> About:
    """What the package in `folder` is.

    Raises:
        InputError: as `open_package`, or it is no fp32 package.
    """
    about = open_package(folder).about
    if about.precision != "fp32":
        raise InputError(f"{folder}: is {about.precision} already; give the fp32 package that it was made from")
    return about


def _described(graph: bytes, about: About) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(graph)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, about.to_metadata())
    return model


def _renew_golden(predictor: PackagePredictor, folder: Path) -> None:
    values = read_json_object(folder / EXPECTED)
    sources = [golden_source((folder / EXPECTED).parent, one) for one in values["inputs"]]
    rows = predictor.rows([predictor.inputs(*source) for source in sources])
    told = [np.round(each.astype(np.float64), 7).tolist() for each in rows]
    write_json(folder / EXPECTED, {**values, "probabilities": told})


def _append(file: Path, text: str) -> None:
    """Paragraphs on a line each, as the rest of these files."""
    if file.is_file():
        lines = "\n\n".join(" ".join(part.split("\n")) for part in text.strip().split("\n\n"))
        file.write_text(f"{file.read_text(encoding='utf-8').rstrip()}\n\n{lines}\n", encoding="utf-8")


def _card(taken: Judged, ground: Ground) -> str:
    """A last section of the card, which is otherwise that of the fp32 model."""
    assert taken.difference is not None
    found, metric = taken.difference, ground.target_spec.score
    how = f" ({taken.weights}, ranges by {taken.method}, float: {taken.kept})" if taken.weights else ""
    return f"""
## This file is {taken.name}

`{MODEL}` is a smaller version of the model described above{how}. All results above are of the fp32 model. On the
{len(ground.positions):,} validation examples, on which this version was chosen, {metric} differs by {found.mean:+.4f}
(95% interval {found.low:+.4f} to {found.high:+.4f}), and {taken.num_changed:,} of {taken.num_decisions:,} decisions
differ. Thresholds and calibration are the fp32 model's; what was guaranteed of its thresholds is not guaranteed of this
version. The test part was not read. `{MEASURED}` has every version that was measured.
"""
