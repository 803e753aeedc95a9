"""What each sampler makes of a label table: expected and drawn label shares, as a table, a CSV file and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from xlite.console import FittedTable
from xlite.data.balance import (
    expected_label_shares,
    expected_no_finding_share,
    inverse_frequency,
    negatives_positives,
    positive_counts,
    sample_weights,
)
from xlite.data.batches import draws
from xlite.storage.files import atomic_write, write_text
from xlite.storage.text import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Sampler = Literal["none", "max", "mean", "unscaled"]
SAMPLERS: tuple[Sampler, ...] = ("none", "max", "mean", "unscaled")
COLUMNS = (
    *("sampler", "label", "positives", "expected_image_share", "expected_share", "drawn_share", "uniform_share"),
    *("distance_from_uniform", "closer_to_uniform_than_none", "cv_expected", "cv_drawn", "no_finding_expected"),
    "no_finding_drawn",
)

_COLOURS = {"none": "tab:blue", "max": "tab:orange", "mean": "tab:green", "unscaled": "tab:red"}


@dataclass(frozen=True)
class Drawn:
    """What one sampler gives.

    Attributes:
        expected: (L,) each label's expected share of all positive labels drawn; sums to 1.
        expected_rate: (L,) expected share of the images drawn that show the label.
        drawn: (L,) `expected` measured among the rows of the batches drawn; all 0 if no row with a finding came up.
        expected_no_finding, drawn_no_finding: share of rows without any positive label.
    """

    sampler: Sampler
    expected: np.ndarray
    expected_rate: np.ndarray
    drawn: np.ndarray
    expected_no_finding: float
    drawn_no_finding: float

    @property
    def distance(self) -> np.ndarray:
        """(L,) how far each label's drawn share lies from 1 / L."""
        return np.abs(self.drawn - 1 / len(self.drawn))


def coefficient_of_variation(shares: np.ndarray) -> float:
    """Standard deviation over mean of label shares (L,): 0 where all labels are drawn alike; NaN where none is."""
    mean = shares.mean()
    return float(shares.std() / mean) if mean > 0 else float("nan")


def measure_samplers(targets: np.ndarray, *, num_batches: int, batch_size: int, seed: int) -> list[Drawn]:
    """One `Drawn` for each of SAMPLERS, its batches drawn as training draws them.

    Args:
        targets: (N, L) of 0, 1 or NaN (unknown: no finding); at least one positive.
    """
    measured = []
    for sampler in SAMPLERS:
        weights = None if sampler == "none" else sample_weights(targets, how=sampler)
        chosen = targets[_rows_of_batches(len(targets), weights, num_batches, batch_size, seed)] == 1
        counts = chosen.sum(axis=0)
        even = np.ones(len(targets)) if weights is None else weights
        measured.append(
            Drawn(
                sampler,
                expected_label_shares(targets, even),
                even @ (targets == 1) / even.sum(),
                counts / max(counts.sum(), 1),
                expected_no_finding_share(targets, even),
                float(1 - chosen.any(axis=1).mean()),
            )
        )
    return measured


def _rows_of_batches(
    num_rows: int, weights: np.ndarray | None, num_batches: int, batch_size: int, seed: int
) -> np.ndarray:
    """Rows of the first batches of as many epochs as they take."""
    batches: list[np.ndarray] = []
    epoch = 0
    while len(batches) < num_batches:
        epoch_draws = draws(num_rows, epoch=epoch, batch_size=batch_size, num_views=1, seed=seed, weights=weights)
        batches += [draw.positions for draw in islice(epoch_draws, num_batches - len(batches))]
        epoch += 1
    return np.concatenate(batches)


def num_closer(drawn: Drawn, plain: Drawn) -> int:
    """How many labels are drawn nearer to the uniform share than without a sampler."""
    return int((drawn.distance < plain.distance).sum())


def balance_table(measured: Sequence[Drawn], labels: Sequence[str]) -> FittedTable:
    """A row for each sampler; CV is the coefficient of variation of the labels' shares."""
    numbers = ("CV\nexpected", "CV\ndrawn", "No Finding\nexpected", "No Finding\ndrawn", "closer to\nuniform")
    table = FittedTable(
        {"sampler": "text", **dict.fromkeys(numbers, "number")},
        dropped_first=("No Finding\nexpected", "No Finding\ndrawn"),
        complete_in="balance.csv",
    )
    for drawn in measured:
        closer = "-" if drawn is measured[0] else f"{num_closer(drawn, measured[0])} of {len(labels)} labels"
        table.add_row(
            drawn.sampler,
            *(f"{coefficient_of_variation(shares):.3f}" for shares in (drawn.expected, drawn.drawn)),
            *(f"{share:.1%}" for share in (drawn.expected_no_finding, drawn.drawn_no_finding)),
            closer,
        )
    return table


def describe_balance(measured: Sequence[Drawn]) -> str:
    """What the samplers do, in one line."""
    variations = [coefficient_of_variation(drawn.expected) for drawn in measured]
    empty = [drawn.expected_no_finding for drawn in measured]
    evenest, fullest = int(np.argmin(variations)), int(np.argmax(empty))
    return (
        f"CV 0 would be every label drawn alike: {measured[evenest].sampler} comes nearest "
        f"({variations[evenest]:.3f}); {measured[fullest].sampler} draws most images without "
        f"a finding ({empty[fullest]:.1%})"
    )


def write_balance_csv(path: Path, measured: Sequence[Drawn], labels: Sequence[str], positives: np.ndarray) -> None:
    """One row for each sampler and label, in COLUMNS, in one step."""
    plain, uniform = measured[0], 1 / len(labels)
    rows: list[Sequence[object]] = [COLUMNS]
    for drawn in measured:
        of_sampler = (
            *(coefficient_of_variation(drawn.expected), coefficient_of_variation(drawn.drawn)),
            *(drawn.expected_no_finding, drawn.drawn_no_finding),
        )
        for k, label in enumerate(labels):
            closer = "" if drawn is plain else "yes" if drawn.distance[k] < plain.distance[k] else "no"
            shares = (drawn.expected_rate[k], drawn.expected[k], drawn.drawn[k], uniform, drawn.distance[k])
            numbers = [f"{value:.6f}" for value in shares]
            summary = [f"{value:.6f}" for value in of_sampler]
            rows.append([drawn.sampler, label, int(positives[k]), *numbers, closer, *summary])
    write_text(path, csv_text(rows))


def draw_balance(path: Path, measured: Sequence[Drawn], labels: Sequence[str], targets: np.ndarray) -> None:
    """Four panels as one PNG: label distribution, class weights, the samplers' effect, drawn shares against uniform."""
    from matplotlib.figure import Figure

    order = np.argsort(positive_counts(targets), kind="stable")
    names = [labels[k] for k in order]
    figure = Figure(figsize=(15, 10), layout="constrained")
    counts, weights, effect, shares = figure.subplots(2, 2).flat
    num_empty = int((~(targets == 1).any(axis=1)).sum())
    counts.barh(names, positive_counts(targets)[order], color="tab:blue")
    counts.set(title=f"Label distribution ({len(targets):,} images, {num_empty:,} without a finding)", xlabel="images")
    _draw_weights(weights, names, targets, order)
    plain = measured[0]
    for drawn in measured[1:]:
        factor = np.divide(
            drawn.expected_rate, plain.expected_rate, out=np.ones(len(labels)), where=plain.expected_rate > 0
        )
        effect.plot(factor[order], names, "o-", color=_COLOURS[drawn.sampler], label=drawn.sampler)
    effect.axvline(1, color="grey", linewidth=1)
    effect.set(title="Sampler effect: images with the label, against no sampler", xscale="log", xlabel="times as often")
    effect.legend()
    height = 0.8 / len(measured)
    for i, drawn in enumerate(measured):
        title = f"{drawn.sampler} (CV {coefficient_of_variation(drawn.drawn):.3f})"
        at = np.arange(len(names)) + ((len(measured) - 1) / 2 - i) * height
        shares.barh(at, drawn.drawn[order], height, color=_COLOURS[drawn.sampler], label=title)
    shares.set_yticks(np.arange(len(names)), names)
    shares.axvline(1 / len(labels), color="grey", linewidth=1, label=f"uniform {1 / len(labels):.2%}")
    shares.set(title="Drawn shares under each sampler", xlabel="share of all labels drawn")
    shares.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _draw_weights(axes: "Axes", names: Sequence[str], targets: np.ndarray, order: np.ndarray) -> None:
    """The two kinds of label weights that the losses know, on one logarithmic axis."""
    axes.plot(negatives_positives(targets)[order], names, "o-", label="negatives / positives (pos_weight)")
    axes.plot(inverse_frequency(positive_counts(targets))[order], names, "s-", label="1 / sqrt(count + 1), mean 1")
    axes.set(title="Class weights", xscale="log", xlabel="weight")
    axes.legend()
