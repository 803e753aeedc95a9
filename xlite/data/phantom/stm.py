"""Writes a data set of STM phantoms with a label for each scan line: .npz scans and lines.csv."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xlite.console import ProgressCallback
from xlite.data.phantom.writing import check_minimum, write_once
from xlite.storage.files import write_text

VERSION = 1  # incremented when any scan or label changes
LABELS = ("clean", "recovering", "tip_change", "unstable")
"""The state of the tip in a line: unchanged; settling after a change; changing permanently; flickering."""
SHARES = (0.44, 0.30, 0.09, 0.17)
"""Approximate share of each label, with inverse-frequency weights of 0.569, 0.823, 2.845 and 1.478."""

_CLEAN, _RECOVERING, _TIP_CHANGE, _UNSTABLE = range(4)
_CHANGE_LINES = 3
_SPELL_LINES = {_CLEAN: (3, 13), _RECOVERING: (7, 15), _UNSTABLE: (4, 9)}  # (first, end), end excluded
_STEADY = 0.4  # largest absolute log contrast of a settled tip
_FLICKER = 0.65  # share of an unstable spell's lines that jump
_GLITCH = 0.02  # share of lines that jump in any spell, without meaning
_UNKNOWN = 0.01  # share of lines without a label
_SCANS_PER_SESSION = 2
_SUDDEN = 0.7  # corrugations from one line to the next that count as a jump
_CREEP, _CREEP_LENGTH = 0.6, 0.2  # the piezo's lag after a jump: share of the jump; decay length, share of a line
_ATOM_M, _BASE_M = 2e-11, -1.27e-7  # corrugation of atoms at contrast 1; position of the piezo


@dataclass(frozen=True)
class Tip:
    """The tip's effect on each line; all (lines,).

    Attributes:
        labels: class numbers in `LABELS`.
        contrast: log of the factor on the atoms' corrugation.
        height: offset, in corrugations.
        jumps: whether the tip changes within a part of the line.
    """

    labels: np.ndarray
    contrast: np.ndarray
    height: np.ndarray
    jumps: np.ndarray


def stm_phantom_folder(root: Path, *, num_scans: int = 160, lines: int = 128, points: int = 128, seed: int = 0) -> Path:
    """The folder of the data set with these parameters under `root`, e.g. `stm-160x128x128-s0-v1`."""
    return root / f"stm-{num_scans}x{lines}x{points}-s{seed}-v{VERSION}"


def write_stm_phantom(
    folder: Path,
    *,
    num_scans: int = 160,
    lines: int = 128,
    points: int = 128,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> None:
    """Write the data set into `folder`, atomically, unless it is there already.

    Two scans form a session (column `group`) on one surface with one lattice. The bytes depend on `num_scans`, `lines`,
    `points` and `seed` only.

    Args:
        folder: see `stm_phantom_folder`.
        num_scans: at least 10.
        lines: of a scan, at least 16.
        points: of a line, at least 32.
        seed: not negative.
        progress: called with (scans done, num_scans).

    Raises:
        InputError: a parameter out of range, or `folder` holds something else.
    """
    parameters = {"version": VERSION, "num_scans": num_scans, "lines": lines, "points": points, "seed": seed}
    check_minimum(parameters, num_scans=10, lines=16, points=32, seed=0)
    write_once(folder, parameters, lambda to: _write(to, num_scans, (lines, points), seed, progress))


def draw_tip(rng: np.random.Generator, lines: int) -> Tip:
    """Draw the tip's states over one scan.

    A clean spell is followed by a tip change or by an unstable spell. At a tip change contrast and height jump and hold
    for three lines, then relax to another steady value (recovering). In an unstable spell single lines jump and come
    back, and afterwards the tip is as before. The contrasts of all spells overlap, so that a single line tells little:
    the label depends on whether a jump lasts, and on whether the contrast still changes.
    """
    skipped = int(rng.integers(0, 40))  # a scan starts anywhere in a spell
    labels, contrast, height = (np.empty(0) for _ in range(3))
    steady, offset = rng.uniform(-_STEADY, _STEADY), 0.0
    while len(labels) < skipped + lines:
        if rng.random() < 0.5:
            spells = [_CLEAN, _TIP_CHANGE, _RECOVERING]
            num = [
                int(rng.integers(*_SPELL_LINES[_CLEAN])),
                _CHANGE_LINES,
                int(rng.integers(*_SPELL_LINES[_RECOVERING])),
            ]
            settled, jump = _next_contrast(rng, steady)
            step, creep = rng.normal(0, 1.5), rng.normal(0, 2.5)
            left = np.exp(-2.5 * np.arange(1, num[2] + 1) / num[2])  # of the jump, 8% on the last line
            contrasts = [np.full(num[0], steady), np.full(num[1], jump), settled + (jump - settled) * left]
            heights = [np.full(num[0], offset), np.full(num[1], offset + step + creep), offset + step + creep * left]
            steady, offset = settled, offset + step
        else:
            spells = [_CLEAN, _UNSTABLE]
            num = [int(rng.integers(*_SPELL_LINES[spell])) for spell in spells]
            jumped = rng.random(num[1]) < _FLICKER
            jumps = np.where(jumped, rng.choice((-1, 1), num[1]) * rng.uniform(0.8, 1.4, num[1]), 0)
            contrasts = [np.full(num[0], steady), steady + jumps]
            heights = [np.full(num[0], offset), offset + jumped * rng.normal(0, 1.5, num[1])]
        labels = np.concatenate([labels, np.repeat(spells, num)])
        contrast, height = np.concatenate([contrast, *contrasts]), np.concatenate([height, *heights])
    kept = slice(skipped, skipped + lines)
    labels, contrast, height = labels[kept].astype(int), contrast[kept], height[kept]
    glitch = rng.random(lines) < _GLITCH
    contrast = contrast + glitch * rng.normal(0, 1, lines) + rng.normal(0, 0.06, lines)
    first = np.diff(labels, prepend=labels[0]) != 0
    jumps = glitch | ((labels == _TIP_CHANGE) & first) | ((labels == _UNSTABLE) & (rng.random(lines) < 0.5))
    return Tip(labels, contrast, height, jumps)


def _next_contrast(rng: np.random.Generator, steady: float) -> tuple[float, float]:
    """Log contrasts (after settling, right after the jump): a clear jump, of which a large part relaxes."""
    while True:
        settled = rng.uniform(-_STEADY, _STEADY)
        jump = settled + rng.choice((-1, 1)) * rng.uniform(0.9, 1.4)
        if abs(jump - steady) > 0.6:
            return settled, jump


@dataclass(frozen=True)
class _Sample:
    """A session's surface: lattice and roughness; heights in corrugations."""

    spacing_points: float
    angle: float
    noise: float
    step_height: float
    bow: float


def _draw_sample(rng: np.random.Generator, points: int) -> _Sample:
    return _Sample(
        spacing_points=points / rng.uniform(9, 14),
        angle=rng.uniform(0, math.pi / 3),
        noise=rng.uniform(0.15, 0.3),
        step_height=rng.uniform(0.8, 1.6),
        bow=rng.uniform(2.5, 3.5),
    )


def draw_scan(rng: np.random.Generator, sample: _Sample, tip: Tip, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw forward and backward topography, (lines, points) float32 in metres, both from left to right."""
    lines = len(tip.labels)
    line, point = np.mgrid[:lines, :points].astype(np.float64)
    drift = rng.normal(0, 0.08, 2)  # points per line: thermal drift shears the lattice
    x, y = point + drift[0] * line, line * (1 + drift[1]) * points / lines
    atoms = _atoms(sample, x, y, rng.uniform(0, 2 * math.pi, 2))
    bow = sample.bow * (2 * point / points - 1) ** 2  # of the scanner, along the line
    ground = bow + _ground(rng, sample, x, y, points)
    wander = np.cumsum(rng.normal(0, 0.08, lines))  # of the piezo, from line to line
    both = []
    for way in range(2):
        contrast = np.repeat(np.exp(tip.contrast)[:, None], points, axis=1)
        streaks = _streaks(rng, tip, points)
        noise = sample.noise * rng.standard_normal((lines, points))
        slow = cv2.GaussianBlur(rng.standard_normal((lines, points)), (0, 0), sigmaX=points / 12, sigmaY=1e-3)
        # the piezo lags on its way back
        heights = contrast * np.roll(atoms, way, axis=1) + np.roll(ground, way, axis=1)
        heights += _along_lines(tip.height, points) + wander[:, None] + streaks + noise + slow
        both.append((_BASE_M + _ATOM_M * heights).astype(np.float32))
    return both[0], both[1]


def _along_lines(height: np.ndarray, points: int) -> np.ndarray:
    """(lines, points) offset of the tip: the piezo creeps after a jump; slow relaxation continues within a line."""
    along = np.arange(points) / points
    step = np.diff(height, prepend=height[0])
    sudden = np.abs(step) > _SUDDEN
    late = np.where(sudden, -_CREEP * step, 0)[:, None] * np.exp(-along / _CREEP_LENGTH)
    return height[:, None] + late + np.where(sudden, 0, step)[:, None] * (along - 0.5)


def _atoms(sample: _Sample, x: np.ndarray, y: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """A hexagonal lattice in [-1, 1], with the rows of one direction stronger than the others."""
    total = np.zeros_like(x)
    for k, weight in enumerate((0.5, 0.3, 0.2)):
        angle = sample.angle + k * math.pi / 3
        phase = phases[0] * (k == 0) + phases[1] * (k == 1) + (phases[1] - phases[0]) * (k == 2)
        total += weight * np.cos(
            2 * math.pi / sample.spacing_points * (x * math.cos(angle) + y * math.sin(angle)) + phase
        )
    return total


def _ground(rng: np.random.Generator, sample: _Sample, x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Tilt, terraces with rough edges and adsorbates, in corrugations: independent of the tip."""
    ground = rng.normal(0, 1.5) * x / points + rng.normal(0, 3) * y / points
    direction = rng.uniform(0.15, 0.35) * math.pi
    across = x * math.cos(direction) + y * math.sin(direction)
    for _ in range(int(rng.integers(0, 3))):
        edge = rng.uniform(0.2, 1.2) * points + 2 * np.sin(y / points * rng.uniform(10, 30) + rng.uniform(0, 6))
        ground += sample.step_height * np.tanh(np.clip((across - edge) / 1.5, -20, 20)) / 2
    for _ in range(int(rng.integers(2, 9))):
        apart = np.hypot(x - rng.uniform(0, points), y - rng.uniform(0, points))
        ground += rng.uniform(1, 3) * np.exp(-((apart / (points * rng.uniform(0.015, 0.035))) ** 2) / 2)
    return ground


def _streaks(rng: np.random.Generator, tip: Tip, points: int) -> np.ndarray:
    """(lines, points) offsets of a random part of each line in which the tip jumps."""
    streaks = np.zeros((len(tip.jumps), points))
    for line in np.flatnonzero(tip.jumps):
        start, end = np.sort(rng.integers(0, points + 1, 2))
        streaks[line, start:end] = rng.normal(0, 1.0)
    return streaks


def _write(folder: Path, num_scans: int, shape: tuple[int, int], seed: int, progress: ProgressCallback | None) -> None:
    lines, points = shape
    (folder / "scans").mkdir(parents=True)
    table = ["scan,line,label,group\n"]
    for scan in range(num_scans):
        session = scan // _SCANS_PER_SESSION
        # A random stream each, so that a scan does not depend on the number of scans.
        sample = _draw_sample(np.random.default_rng((seed, session, 0)), points)
        rng = np.random.default_rng((seed, scan, 1))
        tip = draw_tip(rng, lines)
        forward, backward = draw_scan(rng, sample, tip, points)
        name = f"scan_{scan:04d}"
        np.savez_compressed(folder / "scans" / f"{name}.npz", Z_fwd=forward, Z_bwd=backward)
        unknown = rng.random(lines) < _UNKNOWN
        for line, label in enumerate(tip.labels):
            table.append(f"{name},{line},{'' if unknown[line] else LABELS[label]},session_{session:03d}\n")
        if progress is not None:
            progress(scan + 1, num_scans)
    write_text(folder / "lines.csv", "".join(table))
