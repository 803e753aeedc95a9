"""Latin hypercube sampling (McKay, Beckman and Conover, Technometrics 21, 1979) for a study's first trials.

Of n random draws none falls into a given n-th of a range in more than a third of all cases; here exactly one does.
"""

import math
import zlib
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def latin_hypercube(name: str, distribution: BaseDistribution, *, trial: int, num_trials: int, seed: int) -> Any:
    """The value of parameter `name` in trial number `trial` (from 0), drawn at random within the trial's own stratum.

    The range has `num_trials` strata of equal probability; each block of `num_trials` trials visits every stratum once,
    in an order that depends on the seed, the name and the block alone. So parameters that only some trials have do not
    shift the others.
    """
    block, position = divmod(trial, num_trials)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), block])
    stratum = rng.permutation(num_trials)[position]
    return quantile(distribution, float(stratum + rng.random(num_trials)[position]) / num_trials)


def quantile(distribution: BaseDistribution, probability: float) -> Any:
    """The value below which a random draw of `distribution` falls with `probability`, 0 <= probability < 1.

    Raises:
        TypeError: not one of Optuna's three kinds of distribution.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(probability * len(distribution.choices))]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"{type(distribution).__name__}: unknown distribution")
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        value = math.exp(math.log(low - half) + probability * (math.log(high + half) - math.log(low - half)))
        return min(max(round(value), low), high) if half else min(max(value, low), high)
    if step is None:
        return low + probability * (high - low)
    value = low + int(probability * (round((high - low) / step) + 1)) * step
    return min(value, high)
