"""One reader per raw format; each returns a Reading."""

from dataclasses import dataclass

from xlite.data.table import Table


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    Attributes:
        table: the rows whose files are there.
        missing: ids that the raw table names but whose file is absent, in the raw table's order.
        notes: lines worth showing to a person.
    """

    table: Table
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
