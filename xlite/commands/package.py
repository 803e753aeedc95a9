"""Packages of promoted models: written at the end of every promotion, and by `xlite package` of an older one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import add_place_options, add_study_options, shown, study_command
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.ledger import Ledger
    from xlite.study.options import Study
    from xlite.tasks.prepare import Prepared


def parser() -> argparse.ArgumentParser:
    """Options of `xlite package`."""
    out = cli.parser(
        "Write the package of a promoted model again: the ONNX graph, its own test, a stand-alone predict.py, a model "
        "card. A promotion writes it by itself; this is for studies that were promoted before, and to pass it on. Does "
        "not read the test part."
    )
    add_study_options(out, required=True)
    out.add_argument(
        "--golden", choices=("phantom", "own"),
        help="the inputs of its self-test: drawn ones (default), or copies of training images without headers that "
        "identify; what is burnt into the pixels stays",
    )  # fmt: skip
    out.add_argument("--zip", action="store_true", help="one file of it, in the study's folder or in --out")
    out.add_argument("--out", type=cli.output_dir, metavar="DIR", help="a copy there, of what belongs to it alone")
    add_place_options(out.add_argument_group("what has been moved"))
    return out


def run(arguments: argparse.Namespace) -> int:
    """Package what a study has promoted."""
    folder = cli.existing_study_folder(arguments.results, arguments.study)
    promoted = _promoted(folder)
    if not promoted:
        raise InputError(f"study {folder.name}: nothing is promoted yet; run `{study_command('promote', folder)}`")
    from xlite.commands.reopen import Places, reopen
    from xlite.export.deliver import check_place, copy_package, zip_package

    names = {place: _name(folder, place) for place in promoted}
    copies = {}
    if arguments.out and not arguments.zip:
        alone = promoted == [folder / "promoted"]
        copies = {place: arguments.out if alone else arguments.out / name for place, name in names.items()}
    for copy in copies.values():
        check_place(copy)
    console = Console()
    opened = reopen(folder, console, Places.named(arguments))
    for place, name in names.items():
        write_and_tell(place, opened.study, opened.prepared, opened.ledger, console, golden=arguments.golden)
        if arguments.zip:
            to = arguments.out or folder
            to.mkdir(parents=True, exist_ok=True)
            file = zip_package(place, to / f"{name}.zip")
            console.say(f"{shown(file)}: {file.stat().st_size / 1e6:.1f} MB")
        elif arguments.out:
            console.say(f"A copy is in {shown(copy_package(place, copies[place]))}")
    return 0


def write_and_tell(
    folder: Path,
    study: "Study",
    prepared: "Prepared",
    ledger: "Ledger",
    console: Console,
    *,
    golden: str | None = None,
) -> None:
    """Write the package into a promotion's folder, and say what it is.

    Raises:
        InputError: as `write_package`.
    """
    from xlite.export.facts import facts_of
    from xlite.export.package import Examples, write_package

    facts = facts_of(study, prepared, ledger, folder)
    console.say("Packaging the promoted model")
    for line in write_package(folder, Examples(prepared.full, prepared.table.items), facts, golden=golden):
        console.say(line)
    console.say(f"Package: {shown(folder)}; USE.md there has the commands, MODEL_CARD.md what is known of the model")


def package_if_possible(folder: Path, study: "Study", prepared: "Prepared", ledger: "Ledger", console: Console) -> None:
    """`write_and_tell` at the end of a promotion, which stands also where its model cannot be packaged."""
    try:
        write_and_tell(folder, study, prepared, ledger, console)
    except InputError as error:
        console.say(f"No package: {error}")


def _promoted(folder: Path) -> list[Path]:
    """The promotions in a study's folder: its own, and the members of a front."""
    own = folder / "promoted"
    return [place for place in (own, *sorted(own.glob("[0-9]*"))) if (place / "metrics.json").is_file()]


def _name(folder: Path, place: Path) -> str:
    return folder.name if place.name == "promoted" else f"{folder.name}-{place.name}"
