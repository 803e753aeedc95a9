"""The shares of a GPU that trials can get, and the smallest that fits a footprint."""

from fractions import Fraction

from xlite.errors import InputError
from xlite.gpu.memory import DeviceMemory, gib
from xlite.gpu.probe import Footprint

TRIALS_PER_GPU = 4
"""Most trials on one GPU without MPS, where kernels of different processes do not overlap: a trial alone keeps the GPU
busy for a part u of its time, n trials for n * u at most, and then they wait for each other. By an estimate, not
measured on a GPU, u is 1/4 for the smallest student on the fastest GPU and higher for all others. The probe's step time
cannot tell, as it holds the GPU's time and its waits; it serves the estimate of a search's time."""
SHARE_CLASSES = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares that `auto` chooses from. Few, since Ray uses a worker again only for a trial with the same request, and a
fresh one takes 10 s and more to start. There may be others: those that were given, or that earlier versions gave."""
HEADROOM = 1.15
"""Factor over the probe's peak: in a longer run the allocator's memory fragments more."""
_EPSILON = 1e-9  # of shares that were given: 1 / (1/6) need not be 6 in floats


def trials_on_one(share: float) -> int:
    """How many trials with this share fit on one GPU."""
    return max(1, int(1 / share + _EPSILON))


def share_class(
    footprint: Footprint, memory: DeviceMemory, *, minimum: float = SHARE_CLASSES[0], subject: str = "a trial"
) -> float:
    """The smallest class, at least `minimum`, whose memory holds the footprint with `HEADROOM`.

    Args:
        subject: of the error message.

    Raises:
        InputError: it does not fit on the whole GPU.
    """
    needed = HEADROOM * footprint.peak_bytes + footprint.context_bytes
    for share in SHARE_CLASSES:
        if footprint.fits and share >= minimum - _EPSILON and share * memory.usable_bytes >= needed:
            return share
    raise InputError(
        f"{subject} needs {'' if footprint.fits else 'more than '}{gib(needed)} of GPU memory and this GPU has "
        f"{gib(memory.usable_bytes)} free; lower optim.batch_size or data.image_size, or leave the model out"
    )


def next_class(share: float) -> float | None:
    """The next larger class; None for the whole GPU."""
    return next((larger for larger in SHARE_CLASSES if larger > share + _EPSILON), None)


def smallest_class(num_trials: int, *, overlaps: bool) -> float:
    """The largest class of which `num_trials` fit on one GPU: the CPUs feed no more, so smaller shares gain nothing.

    Without overlapping kernels at most `TRIALS_PER_GPU` count.
    """
    most = max(1, num_trials if overlaps else min(num_trials, TRIALS_PER_GPU))
    return max((share for share in SHARE_CLASSES if trials_on_one(share) >= most), default=SHARE_CLASSES[0])


def shown_share(share: float) -> str:
    """A share for a message: "1/4", "1", "0.3"."""
    fraction = Fraction(share).limit_denominator(16)
    return str(fraction) if abs(fraction - share) < 1e-3 and fraction.numerator == 1 else f"{share:g}"
