"""A promoted model on other data: another hospital's folder, an official test list, the study's own test part."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    add_folder_options,
    cache_dir,
    checked_data,
    column_overrides,
    home,
    shown,
    storage_url,
)
from xlite.console import Console
from xlite.errors import InputError
from xlite.storage.files import fingerprint
from xlite.storage.folders import check_folder

if TYPE_CHECKING:
    import numpy as np

    from xlite.evaluate.columns import Grouping
    from xlite.evaluate.other_data import OtherData
    from xlite.evaluate.overlap import Overlap
    from xlite.evaluate.package import PromotedModel
    from xlite.tasks.target_spec import TargetSpec


def parser() -> argparse.ArgumentParser:
    """Options of `xlite evaluate`."""
    out = cli.parser("Judge a promoted model on other data, beside what it reached on its study's test part.")
    out.add_argument("--model", type=Path, required=True, metavar="DIR", help="a study's promoted/, or a copy of it")
    out.add_argument("--data", type=cli.path, required=True, metavar="DIR", help="folder of the raw data")
    out.add_argument(
        "--task", metavar="T", help="how the folder is read; images: any table (default: the model's task)"
    )
    out.add_argument(
        "--part",
        choices=("all", "train", "val", "test"),
        default="all",
        help="judge only this part of the data's own lists; of the study's own images, of its split (default: all)",
    )
    out.add_argument("--again", action="store_true", help="read the study's test part although it has been read")
    out.add_argument("--keep-twins", action="store_true", help="judge also copies of pictures that the model has seen")
    out.add_argument(
        "--subgroup",
        type=cli.names,
        default=(),
        metavar="C,C,...",
        help="columns of a table in the folder to compare subgroups by, e.g. sex,view,age",
    )
    out.add_argument("--no-images", action="store_true", help="write no sheet of the worst mistakes")
    out.add_argument(
        "--out", type=cli.output_dir, default=home(), metavar="DIR", help="where evaluation/NAME/ is written"
    )
    out.add_argument("--cache-dir", type=cli.path, metavar="DIR", help="pixel caches (default: data/cache)")
    out.add_argument(
        "--storage", type=storage_url, metavar="URL", help="database of the model's study (default: as the study says)"
    )
    out.add_argument(
        "--study-data", type=cli.path, metavar="DIR", help="raw data of the model's study (default: as the study says)"
    )
    out.add_argument(
        "--allow-missing", action="store_true", help="go on with more than 1%% of the images missing or unreadable"
    )
    add_folder_options(out)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Read model and data, set aside what the model has seen, judge, write, tell."""
    from xlite.evaluate.package import open_package

    package, folder = open_package(arguments.model), checked_data(arguments.data)
    out = _place(arguments.out / "evaluation", package, folder, arguments.part)
    check_folder(out, "name another folder with --out")
    check_folder(cache_dir(arguments), "name another folder with --cache-dir")
    from xlite.evaluate.columns import find_columns, join
    from xlite.evaluate.other_data import read_other
    from xlite.tasks import find_task

    console, target_spec = Console(), package.target_spec(arguments.task)
    columns = find_columns(folder, arguments.subgroup)
    predictor = package.predictor(target_spec)
    data = read_other(
        find_task(arguments.task or package.task),
        folder,
        package,
        predictor,
        console,
        cache_dir=cache_dir(arguments),
        allow_missing=arguments.allow_missing,
        column_overrides=column_overrides(arguments),
    )
    groupings = [join(column, data.table.ids, data.table.groups) for column in columns]
    chosen, about, pairs = choose(arguments, package, data, target_spec, console)
    data, groupings = data.take(chosen), [one.take(chosen) for one in groupings]
    judge_and_tell(package, data, target_spec, groupings, about, pairs, out, console, images=not arguments.no_images)
    return 0


def choose(
    arguments: argparse.Namespace,
    package: "PromotedModel",
    data: "OtherData",
    target_spec: "TargetSpec",
    console: Console,
) -> "tuple[np.ndarray, dict[str, object], list[tuple[str, str, str]]]":
    """The images to judge (N,) bool, what was left out as JSON values, and the twins; a look at test is recorded.

    Raises:
        InputError: images the study has trained on, none is left, or the test part was read and no --again.
    """
    import numpy as np

    from xlite.commands.evaluate_study import find_overlap, record_read
    from xlite.commands.reopen import Places
    from xlite.evaluate.other_data import check_judged, of_part

    places = Places(arguments.storage, arguments.study_data)
    overlap, study, ledger, note = find_overlap(package, data, places, console)
    if note:
        console.say(note)
    chosen = of_part(data, overlap, arguments.part)
    ids, pairs, left_out, is_test = data.table.ids, [], {"twins": 0, "of_known_patients": 0}, np.zeros_like(chosen)
    if overlap is not None and study is not None:
        _refuse_seen(arguments, package, data, overlap, chosen)
        twins = np.flatnonzero(overlap.twin & chosen)
        names = study.ids[overlap.place[twins]].tolist()
        pairs = list(zip(ids[twins].tolist(), names, overlap.part[twins].tolist(), strict=True))
        if len(twins) and not arguments.keep_twins:
            chosen[twins] = False
        known = overlap.known_patient & chosen
        chosen &= ~known
        left_out = {"twins": 0 if arguments.keep_twins else len(twins), "of_known_patients": int(known.sum())}
        _tell_left_out(pairs, int(known.sum()), console, kept=arguments.keep_twins)
        is_test = chosen & (overlap.part == "test")
    check_judged(data.take(chosen), target_spec)
    if is_test.any() and ledger is not None:
        console.say(f"{is_test.sum():,} of the images are of the study's test part (e.g. {ids[is_test][0]})")
        record_read(ledger, package, ids[is_test].tolist(), data.folder.name, again=arguments.again)
    elif arguments.again:
        console.say("--again is not needed: none of the images is known to be of the study's test part")
    about: dict[str, object] = {
        "part": arguments.part,
        "twins": len(pairs),
        "left_out": left_out,
        "of_the_studys_test_part": int(is_test.sum()),
        "compared_with_the_study": "nothing" if study is None else "hashes" if ledger is None else "ids and pictures",
    }
    return chosen, about, pairs


def _refuse_seen(
    arguments: argparse.Namespace,
    package: "PromotedModel",
    data: "OtherData",
    overlap: "Overlap",
    chosen: "np.ndarray",
) -> None:
    from xlite.data.seen_pictures import SEEN_PARTS

    if not (refused := overlap.refused & chosen).any():
        return
    parts = " and ".join(name for name in SEEN_PARTS if (overlap.part[refused] == name).any())
    raise InputError(
        f"--data {arguments.data}: {refused.sum():,} of {chosen.sum():,} images are of study {package.name}'s own "
        f"{parts} part (e.g. {data.table.ids[refused][0]}), which the model has "
        "seen; give --part test, or a folder without them"
    )


def _tell_left_out(pairs: "list[tuple[str, str, str]]", known: int, console: Console, *, kept: bool) -> None:
    if pairs:
        named = ", ".join(f"{own} is {other}" if other else own for own, other, _ in pairs[:3])
        done = "judged all the same" if kept else "left out (--keep-twins judges them)"
        console.say(f"Twins: {len(pairs):,} images show pictures that the model has seen (e.g. {named}); {done}")
    if known:
        console.say(f"Left out: {known:,} images of patients whom the model has seen in other images")


def judge_and_tell(
    package: "PromotedModel",
    data: "OtherData",
    spec: "TargetSpec",
    groupings: "list[Grouping]",
    about: "dict[str, object]",
    pairs: "list[tuple[str, str, str]]",
    out: Path,
    console: Console,
    *,
    images: bool,
) -> None:
    """Answer, judge, write the files, print the tables."""
    import numpy as np

    from xlite.commands.evaluate_tables import show_all
    from xlite.evaluate.figures import decisions_of, figures_of
    from xlite.evaluate.mistakes import draw_mistakes, worst_cases
    from xlite.evaluate.pictures import draw_reliability
    from xlite.evaluate.subgroups import JudgedRows, subgroups_of
    from xlite.evaluate.write import write_answers, write_figures, write_twins

    predictor, table = data.predictor, data.table
    with console.progress("Judging images", "images") as progress:
        answers = data.answers(progress)
    decisions = decisions_of(answers, table.labels, predictor.thresholds, spec)
    rows = JudgedRows(answers, decisions, table.targets, table.groups, table.labels)
    figures = figures_of(rows, predictor.thresholds, spec, package)
    subgroups = {}
    with console.progress("Comparing subgroups", "columns") as progress:
        for done, one in enumerate(groupings, start=1):
            subgroups[one.name] = subgroups_of(rows, one.values, spec)
            progress(done, len(groupings))
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "identity": _identity(package, data.folder),
        "model": {"name": package.name, "task": package.task, "kind": package.kind, "weights": list(package.weights)},
        "data": {
            "name": data.folder.name,
            "examples": len(table),
            "patients": len(np.unique(table.groups)),
            **about,
        },
        "labels": {"absent_in_data": list(data.absent), "unknown_to_model": list(data.unknown)},
        "notes": list(figures.notes),
        "score": spec.score,
    }
    write_answers(out / "answers.csv", table.ids.tolist(), rows, groupings)
    write_figures(out / "evaluation.json", about, figures, subgroups)
    written = ["evaluation.json", "answers.csv"]
    if figures.curves:
        draw_reliability(out / "reliability.png", figures.curves, package.curves)
        written.append("reliability.png")
    if images and spec.answers_are is not None:
        draw_mistakes(
            out / "mistakes.png", worst_cases(rows), data.cache.pixels, data.rows, predictor.preprocess.input_spec
        )
        written.append("mistakes.png")
    if pairs:
        write_twins(out / "twins.csv", pairs)
        written.append("twins.csv")
    for stale in {"mistakes.png", "twins.csv", "reliability.png"} - set(written):
        (out / stale).unlink(missing_ok=True)  # of an earlier evaluation by this name
    show_all(figures, subgroups, groupings, rows, spec, console)
    console.say(f"Written to {shown(out)}: {', '.join(written)}")


def _place(folder: Path, package: "PromotedModel", data: Path, part: str) -> Path:
    """MODEL-on-DATA, with the part if not all was judged; with 8 hex digits where another evaluation is called so."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", data.name).strip("._-") or "data"
    out = folder / (f"{package.name}-on-{safe}" + ("" if part == "all" else f"-{part}"))
    there, own = out / "evaluation.json", _identity(package, data)
    is_other = there.is_file() and own not in there.read_text(encoding="utf-8", errors="replace")
    return out.with_name(f"{out.name}-{own[:8]}") if is_other else out


def _identity(package: "PromotedModel", data: Path) -> str:
    """Of model and folder; no path can be read from it."""
    return fingerprint([*package.weights, str(data)])
