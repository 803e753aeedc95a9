"""One reader per raw format; each returns a ParsedDataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xlite.data.table import Table


@dataclass(frozen=True)
class ParsedDataset:
    """A raw data set as read.

    Attributes:
        table: the rows whose files exist.
        missing: ids in the raw table whose file is missing, in the raw table's order.
        notes: lines to show to the user.
        kind: of the targets: "multilabel", "multiclass", "ordinal", or that of the task's own target spec.
        channels: of the input images: 1 (grey) or 3 (colour).
        excluded: id -> reason, for examples that the reader left out.
        num_units: total that `missing` and `excluded` count among, if they do not name examples but e.g. scans.
    """

    table: Table
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: str = "multilabel"
    channels: int = 1
    excluded: Mapping[str, str] = field(default_factory=dict)
    num_units: int | None = None
