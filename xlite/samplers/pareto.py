"""Several objectives at once: ranks by domination, an order that spreads, the volume of a front and its knee.

Points are (N, K) float, each objective upward (the higher, the better); -inf where one was not measured. The first
objective is the score.
"""

import numpy as np


def front_ranks(points: np.ndarray) -> np.ndarray:
    """(N,) int: 1 for points that no other dominates, 2 for those that only these dominate, and so on.

    A point dominates another if it is as good in every objective and better in one, so equal points share a rank.
    """
    as_good: np.ndarray = np.all(points[:, None] >= points[None], axis=-1)
    dominates = as_good & ~as_good.T
    ranks = np.zeros(len(points), dtype=int)
    while not ranks.all():
        left = ranks == 0
        front = left & ~dominates[left].any(axis=0)
        ranks[front] = ranks.max() + 1
    return ranks


def best_first(points: np.ndarray) -> list[int]:
    """All indices by rank; within a rank the highest score first, then always the point farthest from those before it.

    The order of multi-objective ASHA (Schmucker et al. 2021, arXiv:2106.12639, its epsilon-net): each third taken from
    the top has the best score and covers the front. Distances are those of objectives scaled to their ranges.
    """
    ranks, scaled = front_ranks(points), _scaled(points)
    order: list[int] = []
    for rank in range(1, ranks.max(initial=0) + 1):
        left = np.flatnonzero(ranks == rank).tolist()
        taken = [max(left, key=lambda index: points[index, 0])]
        left.remove(taken[0])
        while left:
            gaps = np.linalg.norm(scaled[left][:, None] - scaled[taken][None], axis=-1).min(axis=1)
            taken.append(left.pop(int(gaps.argmax())))
        order += taken
    return order


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume that points dominate above `reference` (K,), exactly: slices along the last objective, recursively."""
    above = points[(points > reference).all(axis=1)]
    if not len(above):
        return 0.0
    if points.shape[1] == 1:
        return float(above.max() - reference[0])
    above = above[front_ranks(above) == 1]
    above = above[np.argsort(-above[:, -1], kind="stable")]
    heights = above[:, -1] - np.append(above[1:, -1], reference[-1])
    slices = (hypervolume(above[: i + 1, :-1], reference[:-1]) for i in range(len(above)) if heights[i] > 0)
    return float(sum(height * area for height, area in zip(heights[heights > 0], slices, strict=True)))


def knee(points: np.ndarray) -> int:
    """Index of the point where the score pays most: farthest beyond the chord between best score and lowest cost.

    The chord rule of Das (1999, "On characterizing the knee of the Pareto curve"), in the plane of the score and the
    mean of the other objectives, each scaled to its range: with each objective for itself, two costs that go together
    would outvote the score. Of equals the one with the highest score, then the first.

    Args:
        points: of a front, at least one.
    """
    scaled = _scaled(points)
    beyond = scaled[:, 0] + scaled[:, 1:].mean(axis=1)
    return max(range(len(points)), key=lambda index: (round(beyond[index], 9), points[index, 0], -index))


def _scaled(points: np.ndarray) -> np.ndarray:
    """Each objective from 0 (worst measured) to 1 (best); 0 where all are equal or it was not measured."""
    measured = np.where(np.isfinite(points), points, np.nan)
    known = ~np.isnan(measured).all(axis=0)
    low, high = np.zeros(points.shape[1]), np.zeros(points.shape[1])
    low[known], high[known] = np.nanmin(measured[:, known], axis=0), np.nanmax(measured[:, known], axis=0)
    return (np.nan_to_num(measured, nan=0.0) - low * np.isfinite(points)) / np.where(high > low, high - low, 1.0)
