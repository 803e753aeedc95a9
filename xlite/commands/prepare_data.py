"""Reading, caching and splitting a data set ahead of a search; and clearing what no study uses any more."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import (
    add_data_options,
    add_results_option,
    add_subset_option,
    cache_dir,
    data_request,
    prepare_and_tell,
    shown,
)
from xlite.commands.starting_weights import run_defaults
from xlite.console import Console, FittedTable
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.data.preprocess import Preprocess
    from xlite.data.table import Item
    from xlite.tasks.prepare import Prepared

_NUM_OPENED = 16


def parser() -> argparse.ArgumentParser:
    """Options of `xlite prepare`."""
    out = cli.parser("Read, check, cache and split a data set; what is there already is not made again.")
    add_data_options(out)
    add_subset_option(out)
    out.add_argument("--dry-run", action="store_true", help="read tables, open some images, say what is understood")
    out.add_argument("--clean", action="store_true", help="instead: remove pixel caches that no study uses")
    add_results_option(out, "with --clean: the studies")
    return out


def run(arguments: argparse.Namespace) -> int:
    """Prepare, and print the parts and each label's share of them; or clean."""
    check_options(arguments)
    console = Console()
    if arguments.clean:
        return clean(arguments, console)
    from xlite.device import device_kind
    from xlite.tasks import find_task
    from xlite.tasks.defaults import base_config
    from xlite.tasks.prepare import read

    task = find_task(arguments.task)
    sizes = {} if arguments.image_size is None else {"data.image_size": arguments.image_size}
    # A dry run prepares nothing, so the size does not matter; looking for weights would take it as long as all else.
    kind = device_kind() if arguments.dry_run else run_defaults(arguments, task, None)
    data = base_config(task, kind, max_epochs=1, seed=arguments.seed, threads=1, settings=sizes).data
    request = data_request(arguments, task, console, data=data, subset=arguments.subset)
    if arguments.dry_run:
        reading, task = read(task, request, console)
        opened = open_some(reading.table.items, task.preprocess(data, reading))
        console.say(f"Dry run: {len(reading.table):,} examples were read{opened}; nothing was cached, split or drawn")
        return 0
    from xlite.data.example_sheet import write_sheet

    prepared = prepare_and_tell(task, request, console)
    console.show(prevalence_table(prepared))
    sheet = prepared.request.cache_dir / f"examples-{prepared.full.pixel_key}.png"
    write_sheet(sheet, prepared.table, prepared.preprocess)
    console.say(f"Examples of each label, before and after: {shown(sheet)}")
    console.say(f"Pixels: {shown(prepared.full.pixel_file)}")
    console.say(f"Split: {shown(prepared.split_file)} (hash {prepared.full.split_hash})")
    return 0


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that the work asked for does not read.

    Raises:
        InputError: names them.
    """
    defaults = vars(parser().parse_args([]))
    if not arguments.clean:
        if arguments.results != defaults["results"]:
            raise InputError("--results says which studies --clean keeps the caches of; give --clean too")
        return
    given = {name for name, value in vars(arguments).items() if value != defaults[name]}
    if idle := sorted(given - {"clean", "results", "cache_dir"}):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise InputError(f"--clean reads only --results and --cache-dir; leave out {options}")


def open_some(items: "Sequence[Item]", preprocess: "Preprocess") -> str:
    """Make the inputs of a few examples, evenly spread, so that a dry run notices files that nothing opens.

    Returns:
        What to add to the line on the examples.

    Raises:
        InputError: none can be read, or a decoder has to be installed; with the first reason.
    """
    import numpy as np

    from xlite.data.unreadable import UnreadableImage

    rows = np.unique(np.linspace(0, len(items) - 1, _NUM_OPENED).astype(int))
    reasons = []
    for row in rows.tolist():
        try:
            preprocess.read(items[row])
        except (UnreadableImage, OSError) as error:
            reasons.append(str(error))
    if len(reasons) == len(rows):
        raise InputError(f"none of the {len(rows)} examples that were opened can be read, e.g. {reasons[0]}")
    return f"; {len(reasons)} of the {len(rows)} opened cannot be read, e.g. {reasons[0]}" if reasons else ""


def prevalence_table(prepared: "Prepared") -> FittedTable:
    """Positives of each label by part, with their share."""
    import numpy as np

    data, describe = prepared.full, prepared.task.target_spec.describe_values
    table = FittedTable(
        {"label": "text", **dict.fromkeys(data.parts, "number")},
        dropped_first=(),
        title="Positives by part",
    )
    for column, label in enumerate(data.labels):
        cells = []
        for rows in data.parts.values():
            known = data.targets[rows, ..., column]
            known = known[np.isfinite(known)]
            cells.append(describe(known) if len(known) else "-")
        table.add_row(label, *cells)
    return table


def clean(arguments: argparse.Namespace, console: Console) -> int:
    """Remove pixel caches that no study.json below --results, which has to be there, names."""
    from xlite.data.cache import remove_unused
    from xlite.ledger import StudyManifest

    results = arguments.results
    if not results.is_dir():
        raise InputError(f"--results {results}: no such folder; --clean keeps the caches of the studies in it")
    folders = [path.parent for name in ("*/study.json", "*/baselines/study.json") for path in results.glob(name)]
    used = set()
    for folder in folders:
        study = StudyManifest.read(folder)
        if study is None or not study.pixel_key:
            raise InputError(f"{folder / 'study.json'}: it does not say which cache it uses; restore it or delete it")
        used.add(study.pixel_key)
    removed = remove_unused(cache_dir(arguments), keep=used)
    for path, num_bytes in removed:
        console.say(f"Removed {shown(path)} ({num_bytes / 1e6:,.1f} MB)")
    console.say(f"{len(removed)} caches removed, {sum(size for _, size in removed) / 1e6:,.1f} MB")
    return 0
