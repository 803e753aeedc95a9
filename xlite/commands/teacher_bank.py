"""A study's teacher bank: built or found, described, compared with the live teacher."""

import argparse
from typing import TYPE_CHECKING

from xlite.commands import cli
from xlite.commands.options import add_place_options, add_study_options, shown
from xlite.console import Console
from xlite.errors import InputError

if TYPE_CHECKING:
    from xlite.data.dataset import Dataset
    from xlite.distill.bank import Bank
    from xlite.distill.bank_check import BankCheck
    from xlite.distill.teacher import Teacher
    from xlite.study.options import Study


def parser() -> argparse.ArgumentParser:
    """Options of `xlite bank`."""
    out = cli.parser(
        "Build the teacher bank of a study, or find it, and say what it is. With --check, ask the live teacher again "
        "and compare; exit 1 if the bank does not match."
    )
    add_study_options(out, required=True)
    add_place_options(out.add_argument_group("what has been moved"), teacher=True)
    out.add_argument("--check", action="store_true", help="compare the bank with the live teacher")
    out.add_argument(
        "--rows", type=cli.positive_int, metavar="N", help="--check: compare about N views of images (default: all)"
    )
    return out


def run(arguments: argparse.Namespace) -> int:
    """Build or find the bank that the study's trials read, say what it is, compare it if asked to."""
    if arguments.rows is not None and not arguments.check:
        raise InputError("--rows says how much --check compares; give --check too")
    from xlite.commands.reopen import Places, reopen, same_teacher
    from xlite.study.teacher import obtain_bank

    console = Console()
    folder = cli.existing_study_folder(arguments.results, arguments.study)
    opened = reopen(folder, console, Places.named(arguments))
    if opened.teacher_key is None:
        raise InputError(f"study {arguments.study}: its space does not distil, so it has no teacher and no bank")
    teacher = same_teacher(opened, console)
    dataset = opened.prepared.search
    bank = obtain_bank(opened.study, teacher, dataset, console)
    tell(bank, len(dataset.part("train")), console)
    if not arguments.check:
        return 0
    found = compare(bank, teacher, opened.study, dataset, num_rows=arguments.rows, console=console)
    if found.holds:
        console.say(
            f"Check: {found.num_checked:,} views match the live teacher within fp16 rounding "
            f"(largest difference {found.largest_difference:.2g})" + (", pixels identical" if bank.has_pixels else "")
        )
        return 0
    console.say(
        f"Check FAILED: of {found.num_checked:,} views, {found.num_beyond:,} logits differ beyond fp16 rounding (by up "
        f"to {found.largest_difference:.2g}) and {found.num_pixels_different:,} pixels are others; "
        f"remove {shown(bank.folder)} and run again"
    )
    return 1


def tell(bank: "Bank", num_images: int, console: Console) -> None:
    """Where the bank lies and what a view of an image takes."""
    sizes = bank.bytes_per_view()
    parts = ", ".join(f"{name.removesuffix('.npy')} {size:,.1f}" for name, size in sizes.items())
    total = sum(sizes.values()) * num_images * bank.num_views
    console.say(f"Teacher bank in {shown(bank.folder)}")
    console.say(
        f"{num_images:,} images x {bank.num_views} views, {total / 2**20:,.1f} MiB; "
        f"bytes an image and view: {parts}" + ("" if bank.has_pixels else " (pixels are over the budget: not kept)")
    )


def compare(
    bank: "Bank", teacher: "Teacher", study: "Study", dataset: "Dataset", *, num_rows: int | None, console: Console
) -> "BankCheck":
    """The bank against the live teacher, on the views that the study's trials see."""
    from xlite.device import choose_device
    from xlite.distill.bank_check import check_bank

    with console.progress("Asking the teacher again", "views") as progress:
        return check_bank(
            bank,
            teacher,
            study.task.train_views(dataset, study.base),
            device=choose_device(study.base.train.precision),
            num_rows=num_rows,
            progress=progress,
        )
