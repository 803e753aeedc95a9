"""One reader per raw format; each returns a Reading."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xlite.data.table import Table, TargetKind


@dataclass(frozen=True)
class ParsedDataset:
    """What a reader found.

    Attributes:
        table: the rows whose files are there.
        missing: ids that the raw table names but whose file is absent, in the raw table's order.
        notes: lines worth showing to a person.
        kind: what the targets are: several labels at once, one class of several, or grades in their order.
        channels: of the input: 1 (grey) or 3 (colour) for images.
        excluded: id -> reason, for what the reader itself left out.
        num_units: what `missing` and `excluded` are counted among, where that is not examples (e.g. scans).
    """

    table: Table
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: TargetKind = "multilabel"
    channels: int = 1
    excluded: Mapping[str, str] = field(default_factory=dict)
    num_units: int | None = None
