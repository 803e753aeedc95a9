"""Learning rate and early stopping, without state: pure functions of progress and history."""

import math
from collections.abc import Sequence

from xlite.config import OptimConfig

COSINE_FLOOR = 0.01
"""The cosine schedule ends at this share of the peak learning rate."""


def learning_rate(
    config: OptimConfig, *, epoch: int, step: int, steps_per_epoch: int, num_epochs: int, history: Sequence[float]
) -> float:
    """The learning rate of one optimiser step.

    Linear warm-up from `warmup_from` over `warmup_epochs`; then constant, cosine down to COSINE_FLOOR, or plateau: as
    PyTorch's ReduceLROnPlateau with `plateau_factor` and `plateau_patience`.

    Args:
        epoch, step: 0-based.
        history: validation metric of each finished epoch, higher is better.
    """
    peak = config.learning_rate
    warmup_steps = config.warmup_epochs * steps_per_epoch
    done = epoch * steps_per_epoch + step
    if done < warmup_steps:
        first = min(config.warmup_from, peak)
        return first + (peak - first) * (done + 1) / warmup_steps
    if config.schedule == "cosine":
        total = max(1, num_epochs * steps_per_epoch - warmup_steps)
        progress = (done - warmup_steps) / total
        return peak * (COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))
    if config.schedule == "plateau":
        drops = plateau_drops(history[config.warmup_epochs :], patience=config.plateau_patience)
        return peak * config.plateau_factor**drops
    return peak


def canonical_schedule(config: OptimConfig, *, can_freeze: bool) -> OptimConfig:
    """`config` with the keys that its schedule does not read at their defaults. `can_freeze`: there is a backbone."""
    unread = set() if can_freeze else {"freeze_epochs"}
    unread |= {"warmup_from"} if config.warmup_epochs == 0 else set()
    unread |= {"plateau_patience", "plateau_factor"} if config.schedule != "plateau" else set()
    return config.only(OptimConfig.model_fields.keys() - unread)


def plateau_drops(history: Sequence[float], *, patience: int) -> int:
    """How often ReduceLROnPlateau (mode "max", threshold 0, no cooldown) would have reduced the rate."""
    best, num_bad, drops = -math.inf, 0, 0
    for value in history:
        best, num_bad = (value, 0) if value > best else (best, num_bad + 1)
        if num_bad > patience:
            num_bad, drops = 0, drops + 1
    return drops


def best_epoch(history: Sequence[float]) -> int:
    """1-based epoch of the highest value, the earliest of equals; `history` must not be empty."""
    return max(range(len(history)), key=lambda i: (history[i], -i)) + 1


def stop_reason(history: Sequence[float], *, num_epochs: int, patience: int) -> str:
    """ "budget" after the last epoch, "early stopping" after `patience` epochs without a better value, else ""."""
    if len(history) >= num_epochs:
        return "budget"
    if len(history) - best_epoch(history) >= patience:
        return "early stopping"
    return ""
