"""Which metrics of a kind of targets stand in tables: the leaderboard's columns, and the one shown label by label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MetricColumns:
    """What is shown of an evaluation; recorded with a study, so that its leaderboard needs no task.

    Attributes:
        leaderboard: columns "val_<scalar>" and "test_<scalar>", which say where their values come from.
        per_label: the metric of a label: leaderboard "val_<per_label>_<label>", TensorBoard "val_<per_label>/<label>".
    """

    leaderboard: tuple[str, ...]
    per_label: str

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MetricColumns":
        """The inverse of `dataclasses.asdict`, also after a detour through JSON."""
        return cls(tuple(values["leaderboard"]), values["per_label"])

    def cells(self, validation: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
        """{column: its scalar, None where there is none}."""
        parts = {"val": validation, "test": test}
        return {
            column: parts[part].get(scalar)
            for column in self.leaderboard
            for part, _, scalar in [column.partition("_")]
        }

    def validation_scalars(self) -> tuple[str, ...]:
        """The scalars of validation among the columns."""
        return tuple(column.removeprefix("val_") for column in self.leaderboard if column.startswith("val_"))


AUC_COLUMNS = MetricColumns(
    ("val_auc_macro", "val_f1_macro", "test_auc_macro", "test_f1_macro", "val_pr_auc_macro"), per_label="auc"
)
"""Of labels and classes; also of studies that say nothing."""
