"""Do explanations point at the finding? The pointing game on chest phantoms, which say where each finding is drawn.

    xlite train --epochs 30 --pretrained no --out r10 --set model.backbone=resnet10t \
        --set optim.learning_rate=1e-3 --set optim.schedule=cosine
    python benchmarks/pointing.py r10

Phantoms of another seed than those trained on. A map is drawn of each label that is drawn and reported, whatever its
probability. It hits if its peak is in the place that the finding changed, or within 3% of the picture's width of it;
chance is the area of just that. "others'" is the share of hits of the same label's map of another picture: what is
known of where such findings lie as a rule. "random" is the same model with random weights (Adebayo et al., arXiv
1810.03292), and the correlation that of its maps with the model's.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from xlite.data.phantom.chest import draw_chest
from xlite.data.phantom.chest_records import Picture, draw_records
from xlite.explain.maps import Explanation, explain
from xlite.explain.pointing import Pointed, PointingScore, scores
from xlite.models.build import build_model
from xlite.predictor import Predictor, load

SEED = 1
"""Of the phantoms; those that `xlite` makes to train on have 0."""
PX = 256
MARGIN_PX = 8
LEAST_CHANGE = 0.25
"""Share of a finding's greatest change of the grey level, from which on a pixel belongs to it."""


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument(
        "models", nargs="+", type=Path, help="of the phantom, as `xlite train --out` or promoted/ has them"
    )
    out.add_argument("--images", type=int, default=500)
    arguments = out.parse_args()
    torch.set_num_threads(1)
    for path in arguments.models:
        predictor = load(path, device="cpu")
        print(f"\n{path.name}: {predictor.models[0].config.backbone}, attention {predictor.models[0].config.attention}")
        tell(*play(predictor, arguments.images))


def drawn_place(picture: Picture, finding: str, *, seed: int, image_px: int) -> np.ndarray:
    """(image_px, image_px) bool: the pixels that this finding changes most; arguments as of `draw_chest`.

    Exact, since everything else is drawn from random streams of its own and stays as it is.
    """
    without = replace(picture, severities={k: v for k, v in picture.severities.items() if k != finding})
    one, other = (draw_chest(each, seed=seed, image_px=image_px).astype(np.int16) for each in (picture, without))
    change = np.abs(one - other)
    return change >= max(1.0, LEAST_CHANGE * change.max())


def randomised(predictor: Predictor) -> Predictor:
    """The same architecture, untrained."""
    models = []
    for seed, model in enumerate(predictor.models):
        config = model.config.model_copy(update={"pretrained": False, "weights": None})
        sizes = {"num_labels": len(predictor.labels), "in_channels": model.in_channels}
        models.append(build_model(config, **sizes, image_size=predictor.preprocess.image_size, seed=seed).eval())
    return replace(predictor, models=tuple(models))


def play(
    predictor: Predictor, num_images: int
) -> tuple[list[PointingScore], dict[str, float], dict[str, float], list[float], int]:
    """By label the score, that of other pictures' maps, of random weights; correlations; maps that were refused."""
    random, pointed, by_random = randomised(predictor), [], []
    told: dict[str, list[tuple[Explanation, np.ndarray]]] = defaultdict(list)
    correlations, num_refused = [], 0
    for picture in draw_records(num_images, SEED):
        labels = [name for name in picture.severities if name in picture.labels]
        if not labels:
            continue
        pixels = draw_chest(picture, seed=SEED, image_px=PX)
        pairs = zip(explain(predictor, pixels, labels), explain(random, pixels, labels), strict=True)
        for one, other in pairs:
            place = near(drawn_place(picture, one.label, seed=SEED, image_px=PX))
            pointed.append(Pointed(one.label, hits(one, place), float(place.mean())))
            by_random.append(Pointed(one.label, hits(other, place), float(place.mean())))
            told[one.label].append((one, place))
            num_refused += one.map is None
            if one.map is not None and other.map is not None:
                correlations.append(float(np.corrcoef(one.map.ravel(), other.map.ravel())[0, 1]))
    others = {
        label: float(
            np.mean([hits(one, place) for (one, _), (_, place) in zip(some, some[1:] + some[:1], strict=True)])
        )
        for label, some in told.items()
    }
    return (
        sorted(scores(pointed), key=lambda score: score.label),
        others,
        {score.label: score.hits / score.num for score in scores(by_random)},
        correlations,
        num_refused,
    )


def near(place: np.ndarray) -> np.ndarray:
    """(PX, PX) bool: the place and MARGIN_PX around it."""
    size = 2 * MARGIN_PX + 1
    return cv2.dilate(place.astype(np.uint8), np.ones((size, size), np.uint8)) > 0


def hits(one: Explanation, place: np.ndarray) -> bool:
    """Whether the peak lies in the place; a map that was refused does not."""
    if one.map is None:
        return False
    row, column = (int((at + 0.5) * PX / size) for at, size in zip(one.peak, one.map.shape, strict=True))
    return bool(place[row, column])


def tell(
    found: list[PointingScore],
    others: dict[str, float],
    random: dict[str, float],
    correlations: list[float],
    num_refused: int,
) -> None:
    print("| label | maps | hits | 95% interval | chance | others' | random | |\n|---|---|---|---|---|---|---|---|")
    for one in found:
        interval = f"{one.low:.2f} to {one.high:.2f}"
        chances = f"{one.chance:.2f} | {others[one.label]:.2f} | {random[one.label]:.2f}"
        print(f"| {one.label} | {one.num} | {one.hits / one.num:.2f} | {interval} | {chances} | {one.verdict} |")
    means = [np.mean([one.hits / one.num for one in found]), np.mean([one.chance for one in found])]
    means += [np.mean([others[one.label] for one in found]), np.mean([random[one.label] for one in found])]
    print("| mean | {} | {:.3f} | | {:.3f} | {:.3f} | {:.3f} | |".format(sum(one.num for one in found), *means))
    print(f"refused: {num_refused}; correlation with random weights: {np.mean(correlations):+.3f} on average")


if __name__ == "__main__":
    main()
