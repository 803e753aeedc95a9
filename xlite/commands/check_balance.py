"""How often each sampler shows each label, expected and drawn, before anything is trained."""

import argparse

from xlite.commands import cli
from xlite.commands.options import checked_data, default_results, phantom_folder, shown
from xlite.console import Console


def parser() -> argparse.ArgumentParser:
    """Options of `xlite balance`."""
    out = cli.parser("Measure how often each sampler shows each label; a label table is enough, images are not read.")
    out.add_argument(
        "--data",
        type=cli.path,
        metavar="DIR",
        help="folder with NIH's Data_Entry table (default: generated phantoms)",
    )
    out.add_argument("--batches", type=cli.positive_int, default=500, metavar="N", help="batches to draw per sampler")
    out.add_argument("--batch-size", type=cli.positive_int, default=32, metavar="N", help="images of a batch")
    out.add_argument("--seed", type=cli.seed, default=42, metavar="N", help="seed of the draws")
    out.add_argument(
        "--out", type=cli.output_dir, metavar="DIR", help="where it is saved (default: ray_results/balance_<time>)"
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Read the table, draw batches with every sampler, print, save balance.csv and balance.png."""
    from xlite.data.balance import positive_counts
    from xlite.data.sources.nih import read_labels
    from xlite.report.balance import (
        balance_table,
        describe_balance,
        draw_balance,
        measure_samplers,
        write_balance_csv,
    )
    from xlite.tasks import find_task

    console = Console()
    folder = checked_data(arguments.data) if arguments.data else phantom_folder(find_task("chestxray14"), console)
    table = read_labels(folder).table
    console.say(
        f"{len(table):,} images, {len(table.labels)} labels; "
        f"{arguments.batches:,} batches of {arguments.batch_size} drawn with each sampler"
    )
    measured = measure_samplers(
        table.targets, num_batches=arguments.batches, batch_size=arguments.batch_size, seed=arguments.seed
    )
    console.show(balance_table(measured, table.labels))
    console.say(describe_balance(measured))
    out = arguments.out or default_results() / f"balance_{cli.default_study_name()}"
    out.mkdir(parents=True, exist_ok=True)
    write_balance_csv(out / "balance.csv", measured, table.labels, positive_counts(table.targets))
    draw_balance(out / "balance.png", measured, table.labels, table.targets)
    console.say(f"balance.csv and balance.png in {shown(out)}")
    return 0
