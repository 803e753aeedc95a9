"""The first trials, spread evenly: Latin hypercube sampling (McKay, Beckman and Conover, Technometrics 21, 1979).

Of n random draws none falls into a given n-th of a range in more than a third of all cases; here one always does.
"""

import math
import zlib
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def spread(name: str, distribution: BaseDistribution, *, trial: int, num_trials: int, seed: int) -> Any:
    """The value of parameter `name` in trial number `trial` (from 0): its own part of the range, drawn at random there.

    After `num_trials` trials the parts are dealt out anew. Each parameter deals in an order of its own; which, depends
    on the seed and the name alone, so parameters that only some trials have do not disturb it.
    """
    stratified_group_split, place = divmod(trial, num_trials)
    generator = np.random.default_rng([seed, zlib.crc32(name.encode()), stratified_group_split])
    part = generator.permutation(num_trials)[place]
    return value_at(distribution, float(part + generator.random(num_trials)[place]) / num_trials)


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value below which a random draw of the distribution falls with probability `share`, 0 <= share < 1.

    Raises:
        TypeError: a kind of distribution that Optuna did not have.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"{type(distribution).__name__}: not known")
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        value = math.exp(math.log(low - half) + share * (math.log(high + half) - math.log(low - half)))
        return min(max(round(value), low), high) if half else min(max(value, low), high)
    if step is None:
        return low + share * (high - low)
    value = low + int(share * (round((high - low) / step) + 1)) * step
    return min(value, high)
