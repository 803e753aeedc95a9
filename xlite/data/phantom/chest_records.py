"""The patients of the chest phantom: the findings of each at each follow-up, and the reported labels.

Findings have the order of prevalence and the correlations of NIH's label table, but are less rare: about 45% of the
images have none (NIH: 54%) and the rarest, Hernia, has 2.4% (NIH: 0.2%), so that 1,200 images have some of each.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from xlite.data.sources.nih import LABELS

FINDINGS = LABELS
PREVALENCE = dict(
    zip(
        FINDINGS,
        (0.105, 0.055, 0.065, 0.050, 0.115, 0.052, 0.042, 0.024, 0.140, 0.074, 0.078, 0.058, 0.040, 0.070),
        strict=True,
    )
)
# Tetrachoric correlations of the findings in NIH's 112,120 rows, in hundredths, below the diagonal.
_CORRELATION = """
7
31 8
-2 16 11
37 39 28 23
13 -6 0 -9 5
6 4 2 -19 -1 -1
11 3 -11 -5 -5 -3 12
21 5 14 31 25 0 4 -4
6 -7 25 2 20 11 6 13 4
-3 -7 12 0 6 -4 12 -4 12 30
10 6 13 -1 23 14 26 2 7 24 19
14 2 15 56 12 -5 -9 0 29 -1 -3 2
10 -17 0 -20 15 51 0 -3 0 12 3 14 -9
"""
_PERSISTENCE = 0.8  # correlation of liabilities between follow-ups: about half the findings persist
_FOLLOW_UPS = (0.70, 0.15, 0.06, 0.04, 0.02, 0.01, 0.01, 0.01)  # share of patients with 1, 2, ... 8 images
_WRONG_REPORT = 0.025  # share of images whose labels have one finding too many or too few
_PORTABLE, _FEMALE, _RGBA = 0.30, 0.435, 0.01
_RECORD = 9  # random stream of a patient's record, separate from those of its images


@dataclass(frozen=True)
class Picture:
    """One row of the table: the findings drawn, and those reported.

    Attributes:
        patient, follow_up: numbered from 1 and from 0.
        severities: finding drawn -> severity in [0, 1].
        labels: findings reported; differ from `severities` in a few images.
        age: years.
        portable: an AP image.
        rgba: stored with four channels, as some of NIH's are.
    """

    patient: int
    follow_up: int
    severities: dict[str, float]
    labels: tuple[str, ...] = ()
    age: int = 50
    female: bool = False
    portable: bool = False
    rgba: bool = False

    @property
    def name(self) -> str:
        """File name in NIH's style."""
        return f"{self.patient:08d}_{self.follow_up:03d}.png"

    def row(self) -> str:
        """The row of the table as CSV."""
        found, sex, view = "|".join(self.labels), "F" if self.female else "M", "AP" if self.portable else "PA"
        found = found or "No Finding"
        return f"{self.name},{found},{self.follow_up},{self.patient},{self.age},{sex},{view},2500,2500,0.168,0.168"


def correlation() -> np.ndarray:
    """(14, 14) correlation of the findings' liabilities."""
    matrix = np.eye(len(FINDINGS))
    for i, line in enumerate(_CORRELATION.split("\n")[1:-1], start=1):
        matrix[i, :i] = matrix[:i, i] = [int(value) / 100 for value in line.split()]
    return matrix


@cache
def _root() -> np.ndarray:
    return np.linalg.cholesky(correlation())


def draw_patient(seed: int, patient: int) -> list[Picture]:
    """All images of one patient.

    Every finding has a liability: a normal variable, autoregressive over follow-ups and correlated with the others as
    in NIH's table. A finding is present while its liability exceeds the quantile given by its prevalence, and the more
    severe the further above.
    """
    rng = np.random.default_rng([seed, patient, _RECORD])
    female, age = bool(rng.random() < _FEMALE), int(np.clip(rng.normal(47, 17), 2, 90))
    root = _root()
    liability = root @ rng.standard_normal(len(FINDINGS))
    pictures = []
    for follow_up in range(int(rng.choice(len(_FOLLOW_UPS), p=_FOLLOW_UPS)) + 1):
        if follow_up:
            change = root @ rng.standard_normal(len(FINDINGS))
            liability = _PERSISTENCE * liability + np.sqrt(1 - _PERSISTENCE**2) * change
            age += int(rng.random() < 0.4)
        rarity = [1 - NormalDist().cdf(value) for value in liability]
        shares = zip(PREVALENCE.items(), rarity, strict=True)
        severities = {name: 1 - r / prevalence for (name, prevalence), r in shares if r < prevalence}
        portable = bool(rng.random() < _PORTABLE)
        labels = _reported(rng, severities)
        pictures.append(
            Picture(patient, follow_up, severities, labels, age, female, portable, bool(rng.random() < _RGBA))
        )
    return pictures


def _reported(rng: np.random.Generator, severities: dict[str, float]) -> tuple[str, ...]:
    """The findings as reported: in a few reports one is missing or added."""
    found = set(severities)
    is_wrong, adds = rng.random() < _WRONG_REPORT, rng.random() < 0.5
    share = np.array(list(PREVALENCE.values()))
    added = FINDINGS[int(rng.choice(len(FINDINGS), p=share / share.sum()))]
    if is_wrong and found and not adds:
        found.discard(sorted(found)[int(rng.integers(len(found)))])
    elif is_wrong:
        found.add(added)
    return tuple(name for name in FINDINGS if name in found)


def draw_records(num_images: int, seed: int) -> list[Picture]:
    """The first `num_images` images of the patients 1, 2, ... of this seed."""
    pictures: list[Picture] = []
    patient = 1
    while len(pictures) < num_images:
        pictures += draw_patient(seed, patient)
        patient += 1
    return pictures[:num_images]
