"""Time, disk and memory that a study will take: arithmetic on a few measured numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

FORWARD = 1 / 3
"""Of the time of a training step: its forward pass alone, as in evaluation."""
RUNNING_FILES = 8
"""Times a student's size on the disk while it trains: two checkpoints (weights, AdamW's averages), weights, a spare."""
START_S, TRIAL_S = 8.0, 0.5
"""Of Ray, once; and of a trial, beside its epochs."""


@dataclass(frozen=True)
class Estimate:
    """What a study takes, within a factor of about two.

    Attributes:
        teacher_s: training the teacher and asking it about every view.
        search_s: at least and at most: processes on one GPU may overlap, or take turns.
        promotion_s: at least and at most: how many trials are trained again may hang on the search's own time.
        results_bytes, cache_bytes: of disk, in the study's folder and in the cache.
        num_processes, process_bytes: trials at once, and the memory of each.
    """

    teacher_s: float
    search_s: tuple[float, float]
    promotion_s: tuple[float, float]
    results_bytes: float
    cache_bytes: float
    num_processes: int
    process_bytes: float

    def describe(self) -> str:
        """One line."""
        low, high = self._whole_s
        divisor, unit = _unit(high)
        parts = {"teacher": [self.teacher_s], "search": self.search_s, "promotion": self.promotion_s}
        shown = ", ".join(f"{name} {_range(part, divisor)}" for name, part in parts.items() if max(part))
        disk = gigabytes(self.results_bytes + self.cache_bytes)
        trials = f"{self.num_processes} trial process{'es' if self.num_processes > 1 else ''}"
        return (
            f"Estimate, within a factor of about 2: {_range((low, high), divisor)} {unit} ({shown}), {disk} of disk, "
            f"{trials} of {gigabytes(self.process_bytes)} memory"
        )

    def describe_searches(self, num: int) -> str:
        """One line on `num` such searches."""
        low, high = (num * seconds for seconds in self._whole_s)
        divisor, unit = _unit(high)
        disk = gigabytes(num * (self.results_bytes + self.cache_bytes))
        return f"{num} outer folds, a search for each: about {_range((low, high), divisor)} {unit} and {disk} in all"

    @property
    def _whole_s(self) -> tuple[float, float]:
        low, high = (self.teacher_s + sum(both) for both in zip(self.search_s, self.promotion_s, strict=True))
        return low, high


def trials_s(trial_s: float, num_trials: int, at_once: float) -> float:
    """Seconds of the search; a last trial that runs alone counts whole."""
    return START_S + (trial_s + TRIAL_S) * max(num_trials / at_once, 1.0)


def epochs_s(example_s: float, *, num_epochs: float, num_train: int, num_val: int) -> float:
    """Seconds of a training with its evaluations. `example_s`: of a training example."""
    return num_epochs * example_s * (num_train + FORWARD * num_val)


def gigabytes(num_bytes: float) -> str:
    """E.g. "2.1 GB", "0.03 GB"."""
    return f"{_digits(num_bytes / 1e9)} GB"


def _range(values: Sequence[float], divisor: float) -> str:
    low, high = (_digits(value / divisor) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _unit(seconds: float) -> tuple[int, str]:
    """Divisor and name of the unit for a time of this length."""
    return next((each for each in ((1, "s"), (60, "min")) if seconds < 120 * each[0]), (3600, "h"))


def _digits(value: float) -> str:
    """Two significant digits, but none below a hundredth."""
    return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}" if value >= 0.095 else f"{value:.2f}"
