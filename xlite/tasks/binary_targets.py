"""Functions of 0/1/NaN targets, independent labels or exclusive classes, for `TargetSpec`."""

from collections.abc import Mapping
from typing import Literal, cast

import numpy as np

from xlite.data.balance import sample_weights
from xlite.errors import InputError

_LEAST_SHARE = 1e-3  # a class or label rarer than this still starts with a finite bias


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Independent probabilities, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of classes that exclude each other, over the last axis, without overflow."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def log_odds(targets: np.ndarray) -> list[float]:
    """(L,) log-odds of each label's share of positives among its known targets (N, L); 0 where nothing is known.

    RetinaNet, arXiv 1708.02002, section 4.1: training starts at the base rates.
    """
    known = np.isfinite(targets)
    count = known.sum(axis=0)
    shares = np.where(count > 0, np.where(known, targets, 0).sum(axis=0) / np.maximum(count, 1), 0.5)
    shares = np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(shares / (1 - shares)).tolist()


def log_priors(targets: np.ndarray) -> list[float]:
    """(K,) logarithms of the classes' shares among the known rows of (N, ..., K)."""
    counts = np.nansum(targets.reshape(-1, targets.shape[-1]), axis=0)
    return np.log(np.maximum(counts / max(counts.sum(), 1), _LEAST_SHARE)).tolist()


def label_weights(targets: np.ndarray, sampler: str) -> np.ndarray | None:
    """(N,) weights of rows by their labels; None for sampler "none"."""
    if sampler == "none":
        return None
    return sample_weights(targets, how=cast(Literal["mean", "max", "unscaled"], sampler))


def class_weights(targets: np.ndarray, sampler: str) -> np.ndarray | None:
    """(N,) weights in proportion to the class's inverse frequency; unknown rows as the most frequent class.

    Raises:
        InputError: examples with several targets, which cannot be drawn by them.
    """
    if sampler == "none":
        return None
    if targets.ndim != 2:
        raise InputError(f"data.sampler={sampler}: examples with several targets cannot be drawn by label; use none")
    counts = np.nansum(targets, axis=0)
    weights = 1.0 / (counts + 1)
    known = np.isfinite(targets).all(axis=1)
    return np.where(known, weights[np.nan_to_num(targets).argmax(axis=1)], weights.min())


def made_up_labels(num: int, shape: tuple[int, ...]) -> np.ndarray:
    """(num, *shape) of 0 and 1; every label has both."""
    return (np.arange(num)[:, None] + np.arange(int(np.prod(shape)))).reshape(num, *shape) % 2.0


def made_up_classes(num: int, shape: tuple[int, ...]) -> np.ndarray:
    """(num, *shape) one-hot rows; every class occurs."""
    numbers = np.arange(num * int(np.prod(shape[:-1])))
    return np.eye(shape[-1])[numbers % shape[-1]].reshape(num, *shape)


def label_row(train: Mapping[str, float], validation: Mapping[str, float], test: Mapping[str, float]) -> dict[str, str]:
    """A promotion's table row of a label; F1, precision and recall at its threshold, or of the most probable class."""
    decided = {name: test.get(f"{name}_at_thresholds", test.get(name)) for name in ("f1", "precision", "recall")}
    values = {
        **{f"{part} AUC": row.get("auc") for part, row in (("train", train), ("val", validation), ("test", test))},
        "test PR-AUC": test.get("pr_auc"),
        **{f"test {'F1' if name == 'f1' else name}": value for name, value in decided.items()},
    }
    positives = f"{test['num_positive']:.0f} of {test['num_known']:.0f}" if "num_positive" in test else ""
    return {title: digits(value) for title, value in values.items()} | {"test positives": positives}


def digits(value: float | None) -> str:
    """Three digits, "-" for what is not known."""
    return "-" if value is None or value != value else f"{value:.3f}"


def prevalence(values: np.ndarray) -> str:
    """Positives among known targets (M,) of one label, and their share."""
    return f"{int(values.sum()):,} ({values.mean():.2%})"
