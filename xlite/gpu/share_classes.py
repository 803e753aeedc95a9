"""The few shares of a GPU that trials are given, and the one that holds a footprint."""

from fractions import Fraction

from xlite.errors import InputError
from xlite.gpu.memory import DeviceMemory, gib
from xlite.gpu.probe import Footprint

TRIALS_PER_GPU = 4
"""Trials on one GPU where their kernels cannot overlap: more would only wait for each other."""
SHARE_CLASSES = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1.0)
"""Shares of a GPU that `auto` gives. Few, since Ray hands a worker on only to a trial that asks for the same."""
HEADROOM = 1.15
"""Room over the probe's peak: a longer run's allocator is more fragmented than a short one's."""
_EPSILON = 1e-9  # 8 x 1/8 is 1 in floats as well, but 1 / (1/6) need not be 6


def trials_on_one(share: float) -> int:
    """Trials of this share that fit on one GPU: a share is never split over two."""
    return max(1, int(1 / share + _EPSILON))


def share_class(
    footprint: Footprint, memory: DeviceMemory, *, least: float = SHARE_CLASSES[0], what: str = "a trial"
) -> float:
    """The smallest class that holds the footprint with `HEADROOM`, but not below `least`.

    Args:
        what: names the configuration in the error.

    Raises:
        InputError: it does not fit on the whole GPU.
    """
    needed = HEADROOM * footprint.peak_bytes + footprint.context_bytes
    for share in SHARE_CLASSES:
        if footprint.fits and share >= least - _EPSILON and share * memory.usable_bytes >= needed:
            return share
    raise InputError(
        f"{what} needs {'' if footprint.fits else 'more than '}{gib(needed)} of GPU memory and this GPU has "
        f"{gib(memory.usable_bytes)} free; lower optim.batch_size or data.image_size, or leave the model out"
    )


def next_class(share: float) -> float | None:
    """The next larger class; None above the last."""
    return next((larger for larger in SHARE_CLASSES if larger > share + _EPSILON), None)


def smallest_class(num_trials: int, *, overlaps: bool) -> float:
    """The class below which a share is pointless, as the CPUs feed no more than `num_trials` on a GPU at once.

    Where kernels do not overlap, no more than `TRIALS_PER_GPU` gain anything by being there.
    """
    most = max(1, num_trials if overlaps else min(num_trials, TRIALS_PER_GPU))
    return max((share for share in SHARE_CLASSES if trials_on_one(share) >= most), default=SHARE_CLASSES[0])


def shown_share(share: float) -> str:
    """A share as a person says it: "1/4", "1", "0.3"."""
    fraction = Fraction(share).limit_denominator(16)
    return str(fraction) if abs(fraction - share) < 1e-3 and fraction.numerator == 1 else f"{share:g}"
