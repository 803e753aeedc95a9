"""The rule for reading the test part: once, unless it is asked for again and counted."""

from xlite.errors import InputError
from xlite.ledger import Ledger
from xlite.report.sections import counted


def check_reads(ledger: Ledger, identity: str, *, again: bool) -> None:
    """Refuse to read test a second time, unless `again`; the same promotion again is no new reading.

    Raises:
        InputError: names the last reading.
    """
    reads = ledger.test_reads()
    if again or not reads or any(read.identity == identity for read in reads):
        return
    raise InputError(
        f"study {ledger.name}: its test part has been read {counted(len(reads), 'time')} (last: {reads[-1]}). Choosing "
        "by test makes its numbers too good; to read it again, and have that counted, give --again"
    )
