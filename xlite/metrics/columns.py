"""The metrics of a kind of targets in tables: the leaderboard's columns, and the metric shown for each label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class MetricColumns:
    """The metrics to show; recorded with a study, so that its leaderboard needs no task.

    Attributes:
        leaderboard: column -> "val/<scalar>" or "test/<scalar>", the source of its values.
        per_label: the metric of a label: leaderboard "val_<per_label>_<label>", TensorBoard "val_<per_label>/<label>".
    """

    leaderboard: Mapping[str, str]
    per_label: str

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MetricColumns":
        """The inverse of `dataclasses.asdict`, also after a round trip through JSON."""
        return cls(values["leaderboard"], values["per_label"])

    def cells(self, validation: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
        """{column: its scalar, None where there is none}."""
        parts = {"val": validation, "test": test}
        sources = {column: source.split("/") for column, source in self.leaderboard.items()}
        return {column: parts[part].get(scalar) for column, (part, scalar) in sources.items()}

    def validation_scalars(self) -> tuple[str, ...]:
        """The scalars of validation among the columns."""
        return tuple(source.removeprefix("val/") for source in self.leaderboard.values() if source.startswith("val/"))


_MACRO = {"val_auc_macro": "val/auc_macro", "test_auc_macro": "test/auc_macro", "val_pr_auc_macro": "val/pr_auc_macro"}
CLASS_COLUMNS = MetricColumns(
    {**_MACRO, "val_f1_macro": "val/f1_macro", "test_f1_macro": "test/f1_macro"}, per_label="auc"
)
"""Of one class of several: F1 of the most probable class."""
LABEL_COLUMNS = MetricColumns(
    {
        **_MACRO,
        **{f"{part}_f1_macro": f"{part}/f1_macro_at_thresholds" for part in ("val", "test")},
        **{f"{part}_f1_macro_at_half": f"{part}/f1_macro" for part in ("val", "test")},
    },
    per_label="auc",
)
"""Of independent labels: F1 at thresholds chosen on validation (cross-fitted there), and at 0.5."""

_AVERAGED = ("auc", "pr_auc", "f1", "precision", "recall")
LABEL_METRICS: Mapping[str, Literal["max", "min"]] = {
    **{f"{name}_{average}": "max" for average in ("macro", "micro") for name in _AVERAGED},
    **{f"{name}_macro_at_thresholds": "max" for name in _AVERAGED[2:]},
    **{"label_ranking_ap": "max", "coverage": "min", "hamming": "min"},
}
"""The scalars of independent labels, and whether a high or a low one is better."""
CLASS_METRICS: Mapping[str, Literal["max", "min"]] = {
    **{f"{name}_macro": "max" for name in _AVERAGED},
    **{"accuracy": "max", "balanced_accuracy": "max", "log_loss": "min"},
}
"""Of one class of several."""


def columns_of(metadata: Mapping[str, Any]) -> MetricColumns:
    """Those recorded with a study; version 0.1.0 recorded none, but the kind of its targets."""
    if "columns" in metadata:
        return MetricColumns.from_json(metadata["columns"])
    return CLASS_COLUMNS if metadata.get("kind") in ("multiclass", "ordinal") else LABEL_COLUMNS
