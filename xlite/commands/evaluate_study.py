"""What the images of an evaluation have in common with the model's study, and the record of a look at its test part."""

from typing import TYPE_CHECKING

from xlite.commands.reopen import Places, reopen
from xlite.console import Console
from xlite.data.seen_pictures import read_seen_pictures
from xlite.errors import InputError
from xlite.evaluate.other_data import OtherData
from xlite.evaluate.overlap import Overlap, StudyImages, overlap_of
from xlite.evaluate.package import PromotedModel
from xlite.ledger import Ledger, TestRead
from xlite.promotion.reads import check_reads

if TYPE_CHECKING:
    from collections.abc import Sequence


def find_overlap(
    package: PromotedModel, data: OtherData, places: Places, console: Console
) -> tuple[Overlap | None, StudyImages | None, Ledger | None, str]:
    """Compare the images with those of the study, or with the package's hashes where that is all there is.

    Returns:
        None, None and None as far as there is nothing to compare with; and a line on what could not be checked.

    Raises:
        InputError: the package lies in a study that cannot be opened.
    """
    alone = "the package lies alone, without its study"
    if package.study is not None:
        console.say(f"Comparing with the images of study {package.study.name}")
        try:
            opened = reopen(package.study, console, places, writes=True)
        except InputError as error:
            reason = str(error).removeprefix(f"study {package.study.name}: ").partition(";")[0]
            raise InputError(
                f"study {package.study.name} cannot be opened, so what the model has seen is not known "
                f"({reason}); mend that, say where its data or ledger is (--study-data, "
                "--storage), or evaluate a copy of the package"
            ) from None
        study, ledger, note = StudyImages.of_dataset(opened.prepared.full), opened.ledger, ""
    elif (seen := read_seen_pictures(package.folder)) is not None:
        study, ledger = StudyImages.of_hashes(seen), None
        note = f"Only identical pictures are noticed, by the hashes in the package ({alone})"
    else:
        return None, None, None, f"Not checked whether the model has seen any of the images ({alone})"
    table = data.table
    return overlap_of(study, table.ids, table.groups, data.hashes, data.cache.pixels, data.rows), study, ledger, note


def record_read(ledger: Ledger, package: PromotedModel, ids: "Sequence[str]", data: str, *, again: bool) -> None:
    """Record that these images of the study's test part are read.

    Raises:
        InputError: it has been read for other numbers, and not `again`.
    """
    identity = package.identity(list(ids))
    check_reads(ledger, identity, again=again)
    ledger.add_test_read(TestRead.now(identity, f"evaluation on {data}"))
