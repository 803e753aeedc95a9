"""A package with a smaller graph, 8-bit or half precision: measured on validation, refused if it loses much."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xlite.commands import cli
from xlite.commands.options import add_place_options, add_results_option, shown, storage_url
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.export.judged import Ground, Judged
    from xlite.package.about import About

EXIT_REFUSED = 1


def parser() -> argparse.ArgumentParser:
    """Options of `xlite export`."""
    out = cli.parser(
        "Make a package's model smaller. Several 8-bit graphs are made, with ranges of the activations from training "
        "images, and compared with the fp32 model on validation; the test part is not read. The result is a package in "
        "a folder of its own. If all lose more than --max-loss, none is written (exit 1)."
    )
    out.add_argument("--model", type=cli.path, required=True, metavar="DIR", help="fp32 package: a study's promoted/")
    kind = out.add_mutually_exclusive_group(required=True)
    kind.add_argument("--int8", action="store_true", help="8-bit weights and activations: a quarter of the size")
    kind.add_argument("--fp16", action="store_true", help="weights stored in half precision: half the size")
    out.add_argument(
        "--max-loss",
        type=cli.inner_share,
        default=0.005,
        metavar="F",
        help="how much lower the task's metric may be on validation",
    )
    out.add_argument(
        "--out", type=cli.output_dir, metavar="DIR", help="folder to write (default: DIR_int8 or DIR_fp16)"
    )
    group = out.add_argument_group("study", "Where the training and validation images are; the package lies in it.")
    group.add_argument("--study", metavar="NAME", help="the study's name, if the package lies elsewhere")
    add_results_option(group)
    group.add_argument(
        "--storage", type=storage_url, metavar="URL", help="database of the ledger (default: the study's)"
    )
    add_place_options(group)
    return out


def run(arguments: argparse.Namespace) -> int:
    """Make, judge, and write or refuse. Returns the exit code."""
    package = arguments.model
    if not package.is_dir():
        raise InputError(f"--model {arguments.model}: no such folder; give a study's promoted/")
    kind = "int8" if arguments.int8 else "fp16"
    out = arguments.out or package.with_name(f"{package.name}_{kind}")
    study = _study_of(package, arguments)

    from xlite.export.smaller import check_free, fp32_package

    check_free(out)
    about, console = fp32_package(package), Console()
    ground = _ground(study, about, arguments, console)
    taken, judged = _make(kind, package, ground, arguments.max_loss, console)
    console.show(_table(judged, taken, ground))
    metric = ground.target_spec.score
    if taken is None:
        least = min(each.loss for each in judged if each.name == kind)
        console.say(
            f"Refused: {metric} on validation is at least {least:.4f} lower, more than --max-loss "
            f"{arguments.max_loss:g}; nothing was written"
        )
        return EXIT_REFUSED

    from xlite.export.smaller import write_smaller

    write_smaller(package, out, taken, judged, ground)
    for line in _told(taken, judged[0], metric):
        console.say(line)
    console.say(f"The package is {shown(out)}: use it as you would {shown(package)}")
    return 0


def _study_of(package: Path, arguments: argparse.Namespace) -> Path:
    """The folder of the study that the package was promoted in."""
    if arguments.study:
        return cli.existing_study_folder(arguments.results, arguments.study)
    for folder in (package.parent, package.parent.parent):  # a member of a front lies one deeper
        if (folder / "study.json").is_file():
            return folder
    raise InputError(
        f"{package}: lies in no study, whose training and validation images are needed; name it with --study"
    )


def _ground(study: Path, about: "About", arguments: argparse.Namespace, console: Console) -> "Ground":
    from xlite.commands.reopen import Places, reopen
    from xlite.export.judged import Ground

    opened = reopen(study, console, Places.named(arguments))
    if not any(row.promotion and row.promotion.identity == about.promotion for row in opened.ledger.finals()):
        raise InputError(
            f"--model {arguments.model}: was not promoted in study {study.name}; name its own with --study"
        )
    if about.num_models > 1:
        console.say(
            f"An ensemble of {about.num_models} models: some of them were trained on each validation image, so the "
            "scores are too high, but their differences compare like with like"
        )
    return Ground(opened.prepared.full, opened.prepared.task.target_spec, about)


def _make(
    kind: str, package: Path, ground: "Ground", max_loss: float, console: Console
) -> "tuple[Judged | None, list[Judged]]":
    """The graph to write, if any, and all that were judged, fp32 first."""
    import onnx

    from xlite.export.choose import chosen, int8_candidates
    from xlite.export.half import half_weights
    from xlite.export.judged import judge, judge_reference, with_latencies
    from xlite.export.quantise import prepared
    from xlite.package.manifest import MODEL

    graph = onnx.load(package / MODEL)
    reference, answers = judge_reference(ground, graph.SerializeToString())
    console.say(
        f"{len(ground.positions):,} validation examples, fp32: {ground.target_spec.score} {reference.score:.4f}, "
        f"{reference.size_mb:.2f} MB"
    )
    judged = [reference, judge(ground, half_weights(graph), answers, ("fp16", "", "", ""))]
    if kind == "int8":
        with console.progress("Trying ways to quantise", "steps") as progress:
            model = prepared(package / MODEL)
            judged += int8_candidates(ground, model, answers, max_loss=max_loss, progress=progress, tell=console.say)
    measured = with_latencies(judged, ground)
    return chosen([each for each in measured if each.name == kind], max_loss), measured


def _table(judged: "Sequence[Judged]", taken: "Judged | None", ground: "Ground") -> FittedTable:
    """A row for each graph."""
    kinds: dict[str, Literal["text", "number"]] = dict.fromkeys(("", "precision", "weights", "ranges", "float"), "text")
    kinds |= dict.fromkeys(("MB", ground.target_spec.score, "difference", "95% interval", "decisions"), "number")
    kinds |= {f"{number} thread{'s' if number > 1 else ''} ms": "number" for number in judged[0].latencies or {}}
    table = FittedTable(
        kinds,
        dropped_first=("decisions", "95% interval", "weights", "ranges", "float"),
        complete_in="smaller.json",
        title=f"On {len(ground.positions):,} validation examples, paired with fp32",
        note="ms of one example: median, 95th percentile; decisions: how many differ from fp32's; * is taken",
    )
    for each in judged:
        found = each.difference
        table.add_row(
            *("*" if each is taken else "", each.name, each.weights, each.method, each.kept, f"{each.size_mb:.2f}"),
            *(f"{each.score:.4f}", f"{found.mean:+.4f}" if found else ""),
            f"{found.low:+.3f} to {found.high:+.3f}" if found else "",
            str(each.num_changed) if found else "",
            *(f"{own.median_ms:.2f}, {own.p95_ms:.2f}" for own in (each.latencies or {}).values()),
        )
    return table


def _told(taken: "Judged", reference: "Judged", metric: str) -> list[str]:
    """What it gained and cost, in words."""
    assert taken.difference is not None and taken.latencies and reference.latencies
    found = taken.difference
    faster = reference.latencies[1].median_ms / taken.latencies[1].median_ms
    chosen = "; it was chosen there, so on other images it may lose more" if taken.name == "int8" else ""
    return [
        f"{taken.name}: {taken.size_mb / reference.size_mb:.0%} of the size, {faster:.2f} times as fast on one thread",
        f"{metric} on validation {found.mean:+.4f} (95% interval {found.low:+.4f} to {found.high:+.4f}){chosen}",
        f"{taken.num_changed:,} of {taken.num_decisions:,} decisions on validation differ from fp32's; thresholds and "
        "calibration are fp32's, and what was guaranteed of its thresholds is not guaranteed here",
    ]
