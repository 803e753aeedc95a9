"""What the images of an evaluation have in common with the model's study, and the record of a look at its test part."""

from typing import TYPE_CHECKING

from xlite.commands.reopen import reopen
from xlite.console import SilentConsole
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
    package: PromotedModel, data: OtherData
) -> tuple[Overlap | None, StudyImages | None, Ledger | None, str]:
    """Compare the images with those of the study, or with the package's hashes where that is all there is.

    Returns:
        None, None and None as far as there is nothing to compare with; and a line on what could not be checked.
    """
    study, ledger, why = None, None, "the package lies alone, without its study"
    if package.study is not None:
        try:
            opened = reopen(package.study, SilentConsole(), writes=True)
        except InputError as error:
            why = f"its study cannot be opened here: {error}"
        else:
            study, ledger, why = StudyImages.of_dataset(opened.prepared.full), opened.ledger, ""
    if study is None:
        seen = read_seen_pictures(package.folder)
        if seen is None:
            return None, None, None, f"Not checked whether the model has seen any of the images ({why})"
        study = StudyImages.of_hashes(seen)
        why = f"Only identical pictures are noticed, by the hashes in the package ({why})"
    table = data.table
    return overlap_of(study, table.ids, table.groups, data.hashes, data.cache.pixels, data.rows), study, ledger, why


def record_read(ledger: Ledger, package: PromotedModel, ids: "Sequence[str]", data: str, *, again: bool) -> None:
    """Record that these images of the study's test part are read.

    Raises:
        InputError: it has been read for other numbers, and not `again`.
    """
    identity = package.identity(list(ids))
    check_reads(ledger, identity, again=again)
    ledger.add_test_read(TestRead.now(identity, f"evaluation on {data}"))
