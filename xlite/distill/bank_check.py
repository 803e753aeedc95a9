"""Compares a teacher bank with the live teacher, on the pixels that trials see."""

import math
from dataclasses import dataclass

import numpy as np

from xlite.console import ProgressCallback
from xlite.data.batches import ViewReader
from xlite.device import Device
from xlite.distill.bank import Bank
from xlite.distill.bank_build import RECORD, BankSource
from xlite.distill.teacher import Teacher
from xlite.storage.files import read_json

NOISE = 1e-4
"""Tolerance beside fp16 rounding, as a share of max(1, |logit|): the order of the teacher's sums depends on threads and
libraries. With bfloat16 it is BFLOAT16_NOISE."""
BFLOAT16_NOISE = 2.0**-5


@dataclass(frozen=True)
class BankCheck:
    """The result of a comparison.

    Attributes:
        num_checked: views of images compared.
        largest_difference: between a stored logit and the live one.
        largest_excess: the same beyond rounding to fp16.
        num_beyond: logits that differ by more than rounding and noise.
        num_pixels_different: pixel values that differ from those of the augmentation.
    """

    num_checked: int
    largest_difference: float
    largest_excess: float
    num_beyond: int
    num_pixels_different: int

    @property
    def holds(self) -> bool:
        """Whether the bank has the live teacher's answers, on the same pixels."""
        return self.num_beyond == 0 and self.num_pixels_different == 0


def check_bank(
    bank: Bank,
    teacher: Teacher,
    reader: ViewReader,
    *,
    device: Device,
    num_rows: int | None = None,
    progress: ProgressCallback | None = None,
) -> BankCheck:
    """Ask the live teacher again, in the batches that the bank was built in, and compare.

    Args:
        reader: as in the bank's source.
        num_rows: compare about this many views of images, in batches spread evenly over the bank; None: all.
        progress: called with (views compared, views to compare) after every batch.
    """
    batch_size = int(read_json(bank.folder / RECORD)["batch_size"])
    source = BankSource(teacher, reader, device, bank.num_views, batch_size)
    batches = source.batches()
    if num_rows is not None:
        wanted = min(len(batches), math.ceil(num_rows / batch_size))
        batches = [batches[index] for index in np.linspace(0, len(batches) - 1, wanted).round().astype(int)]
    noise = NOISE if device.autocast_dtype is None else BFLOAT16_NOISE
    num_wanted = sum(len(batch.positions) for batch in batches)
    num_checked = num_beyond = num_pixels = 0
    largest = excess = 0.0
    for batch in batches:
        images = source.images(batch)
        live = source.answer(batch, images)
        pixels, stored = bank.read(batch.positions, batch.views)
        num_checked += len(images)
        num_pixels += 0 if pixels is None else int(np.count_nonzero(pixels != images))
        silent = np.isnan(stored) & np.isnan(live)
        stored, live = np.where(silent, 0, stored), np.where(silent, 0, live)
        difference = np.abs(stored - live)
        beyond = difference - half_step(live)
        num_beyond += int(np.count_nonzero(~(beyond <= noise * np.maximum(1, np.abs(live)))))  # NaN counts too
        largest, excess = max(largest, float(difference.max())), max(excess, float(beyond.max()))
        if progress is not None:
            progress(num_checked, num_wanted)
    return BankCheck(num_checked, largest, excess, num_beyond, num_pixels)


def half_step(values: np.ndarray) -> np.ndarray:
    """The most that rounding to fp16 moves each value: half a unit in the last place, float32."""
    with np.errstate(invalid="ignore"):  # NaN
        return np.spacing(np.abs(values).astype(np.float16)).astype(np.float32) / 2
