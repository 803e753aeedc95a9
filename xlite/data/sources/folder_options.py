"""What a person says of a folder of labelled images; all else is recognised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from xlite.data.sources.cells import is_number
from xlite.errors import InputError

LabelKind = Literal["binary", "multilabel", "multiclass"]
Uncertain = Literal["ignore", "positive", "negative", "error"]
NONE = "none"
"""Says "there is none, do not look for one" where a name could stand."""


@dataclass(frozen=True)
class FolderOptions:
    """The person's choices, by the command's option; None and () mean: recognise.

    Attributes:
        table: file name of the label table; "none": folders are the classes.
        layout: name of a known layout; "none": read plainly.
        file_column, label_column: of the table.
        group_column, split_column: of the table; "none": without patients, without given parts.
        kind: what the labels are.
        positive: with `kind` "binary", the class that is 1.
        uncertain: what -1 among 0/1 labels means.
        unknown: further words for "not known"; "none" alone: all other words are classes.
        threshold: numbers at or above it are 1, below it 0.
        class_level: the folders that are classes: 1 is the topmost, below train/, val/ and test/.
    """

    table: str | None = None
    layout: str | None = None
    file_column: str | None = None
    label_column: tuple[str, ...] = ()
    group_column: str | None = None
    split_column: str | None = None
    kind: LabelKind | None = None
    positive: str | None = None
    uncertain: Uncertain = "ignore"
    unknown: tuple[str, ...] = ()
    threshold: float | None = None
    class_level: int | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in get_args(LabelKind):
            raise InputError(f"--kind {self.kind!r}: use one of {', '.join(get_args(LabelKind))}")
        if self.uncertain not in get_args(Uncertain):
            raise InputError(f"--uncertain {self.uncertain!r}: use one of {', '.join(get_args(Uncertain))}")
        if self.positive is not None and self.kind not in (None, "binary"):
            raise InputError(f"--positive: only for two classes; leave it out, or use --kind binary, not {self.kind}")

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "FolderOptions":
        """From the command's options by name, e.g. {"label-column": ["a", "b"]}."""
        values: dict[str, Any] = {
            name.replace("-", "_"): tuple(value) if isinstance(value, list) else value for name, value in said.items()
        }
        if "threshold_labels" in values:
            values["threshold"] = values.pop("threshold_labels")
        return cls(**values)

    @property
    def names_columns(self) -> bool:
        """Whether any column is given, so that there must be a table."""
        columns = (self.file_column, *self.label_column, self.group_column, self.split_column)
        return any(name not in (None, NONE) for name in columns)

    def says_unknown(self, text: str) -> bool:
        """Whether `text` is one of the person's unknown words, compared as numbers where both are."""
        words = () if self.unknown == (NONE,) else self.unknown
        return any(text == w or (is_number(text) and is_number(w) and float(text) == float(w)) for w in words)
