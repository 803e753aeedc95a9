"""Pictures of what a promoted model looks at: a sheet for each file, and how often it looks where NIH's boxes are."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import home, shown
from xlite.console import Console, FittedTable
from xlite.errors import EXIT_PASSED_OVER, InputError

if TYPE_CHECKING:
    from xlite.explain.pointing import PointingScore

_FEW = 20
"""Files that are listed one by one; index.csv has all."""


def parser() -> argparse.ArgumentParser:
    """Options of `xlite explain`."""
    out = cli.parser(
        "Draw where a model looks: a class activation map over each picture or slice, along scan lines the points that "
        "matter. Files that cannot be read are listed and passed over (exit 3)."
    )
    out.add_argument("places", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="images; folders are searched")
    out.add_argument("--model", type=Path, required=True, metavar="DIR", help="a study's promoted/, or a .safetensors")
    which = out.add_mutually_exclusive_group()
    which.add_argument(
        "--labels", type=cli.names, metavar="A,B", help="draw these (default: those above their thresholds)"
    )
    which.add_argument("--top", type=cli.positive_int, metavar="N", help="draw the N most probable labels")
    which.add_argument(
        "--boxes", type=Path, metavar="FILE",
        help="NIH's BBox_List_2017.csv: draw the labels that have boxes, and count how often a map's peak is in one",
    )  # fmt: skip
    out.add_argument(
        "--out", type=cli.output_dir, metavar="DIR", help="new or empty folder (default: explained_<time>)"
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Find the files, draw them, say what was not drawn. Returns the exit code."""
    out = arguments.out or home() / f"explained_{cli.default_study_name()}"
    for place in arguments.places:
        if not place.exists():
            raise InputError(f"{place}: no such file or folder")
    check_out(out, arguments.places, arguments.model)
    if not any(arguments.model.glob("*.safetensors")) and arguments.model.suffix != ".safetensors":
        raise InputError(
            f"--model {arguments.model}: no .safetensors there; maps need the weights in PyTorch, a model.onnx alone "
            "gives none: give the whole folder promoted/"
        )
    from xlite.explain.draw import Wanted, draw_all
    from xlite.explain.maps import check_labels
    from xlite.explain.pointing import read_boxes, scores
    from xlite.package.find import Search
    from xlite.predictor import load

    predictor, console = load(arguments.model), Console()
    check_labels(predictor.labels, arguments.labels)
    boxes = read_boxes(arguments.boxes, predictor.labels) if arguments.boxes else None
    if boxes is not None and predictor.preprocess.input_spec.layout != "image":
        raise InputError("--boxes: they are of single pictures; this model takes slices or scan lines")
    search = Search(arguments.places, predictor.preprocess.input_spec)
    sources = list(search.found())
    if not sources:
        raise InputError(f"{', '.join(map(str, arguments.places))}: nothing there that this model reads")
    out.mkdir(parents=True, exist_ok=True)
    with console.progress("Drawing", total=len(sources)) as advance:
        wanted = Wanted(arguments.labels, arguments.top, boxes)
        for drawn in draw_all(predictor, sources, wanted, out):
            advance(drawn.done, len(sources))
    for title, lines in (("not drawn", drawn.empty), ("passed over", drawn.passed_over)):
        for line in lines[:_FEW]:
            console.say(f"{title}: {line}")
        if len(lines) > _FEW:
            console.say(f"{title}: {len(lines) - _FEW:,} more, see index.csv")
    console.say(f"{drawn.sheets:,} of {len(sources):,} drawn, all listed in {shown(out / 'index.csv')}")
    if boxes is not None:
        tell_pointing(scores(drawn.pointed), len(boxes), console)
    return EXIT_PASSED_OVER if drawn.passed_over else 0


def check_out(out: Path, places: list[Path], model: Path) -> None:
    """Raise InputError unless `out` is new or empty and neither among the images nor in the package."""
    folders = [place if place.is_dir() else place.parent for place in places]
    inside = [folder for folder, place in zip(folders, places, strict=True) if place.is_dir()]
    inside += [model] if model.is_dir() else []
    near = out in [folder.resolve() for folder in folders]
    if near or any(out.is_relative_to(folder.resolve()) for folder in inside):
        raise InputError(f"--out {shown(out)}: images or the model are kept there; name another folder")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"--out {shown(out)}: not empty; name a new folder")


def tell_pointing(found: "list[PointingScore]", num_images: int, console: Console) -> None:
    """The table of hits by label."""
    if not found:
        console.say(f"None of these files is among the {num_images:,} images with boxes of the model's labels")
        return
    table = FittedTable(
        {"label": "text", **dict.fromkeys(("maps", "hits", "share", "95% interval", "chance"), "number"), "": "text"},
        dropped_first=(),
        title="Peak of the map in the label's box",
        note="chance: the boxes' share of the picture",
    )
    for one in found:
        interval = f"{one.low:.2f} to {one.high:.2f}"
        numbers = (str(one.num), str(one.hits), f"{one.hits / one.num:.2f}", interval, f"{one.chance:.2f}")
        table.add_row(one.label, *numbers, one.verdict)
    console.show(table)
