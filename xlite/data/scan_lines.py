"""STM scans as lines: reading a file, levelling it, cutting windows of neighbouring lines, augmenting them."""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from xlite.data.input_spec import InputSpec
from xlite.data.preprocess import ModelInput, Preprocess, RawSource
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.data.views import view_seeds
from xlite.errors import InputError

if TYPE_CHECKING:  # a stand-alone package does without pydantic
    from xlite.config import Augmentation

SCAN_SUFFIXES = (".npz", ".npy", ".sxm")
TOPOGRAPHY = (
    "z_fwd",
    "z_forward",
    "topography_fwd",
    "topography_forward",
    "topo_fwd",
    "topo_forward",
    "tf0",
    "forward",
)
"""Names of the forward topography in a .npz or .sxm, in lower case; the first one found is used."""
CURRENT = ("current_fwd", "current_forward", "tf1")
"""Names of the forward current, used where the topography is flat because the feedback was off."""

_SXM_END = b":SCANIT_END:\n"
_FLOAT16_LIMIT = 60_000.0  # the largest float16 is 65,504
_DAMAGE_ERRORS = (ValueError, EOFError, OverflowError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
_NORMAL_IQR = 1.349  # of a normal distribution with standard deviation 1
_MIN_FINITE = 0.5  # a line with a smaller share of finite points is missing
_NOISE: Mapping["Augmentation", float] = {"light": 0.02, "medium": 0.05, "strong": 0.1}
_DROPOUT: Mapping["Augmentation", float] = {"light": 0.0, "medium": 0.02, "strong": 0.05}


@dataclass(frozen=True)
class ScanLinePreprocess(Preprocess):
    """The preprocessing of a window of a scan: level the scan, resample each line, pad the window with zeros.

    `Item.detail` is JSON with the window's first line ("start"), its number of real lines ("lines") and `window_lines`
    ("window"). Missing lines are interpolated from their neighbours. The median and the median slope along the lines
    are subtracted, and the scan is divided by its interquartile range / 1.349, so that heights in any unit have a scale
    of about 1. Values beyond +-60,000 are clipped to fit float16.

    Attributes:
        points: of a resampled line, at least 2.
        window_lines: lines of one example, at least 1.
        version: incremented when `read` gives different values, so that old caches are not used.

    Raises:
        InputError: a value is out of range.
    """

    points: int
    window_lines: int
    version: int = 1

    def __post_init__(self) -> None:
        self.require("points", self.points >= 2, "at least 2")
        self.require("window_lines", self.window_lines >= 1, "at least 1")

    @property
    def input_spec(self) -> InputSpec:
        """(window_lines, points) float16; with the number of real lines."""
        return InputSpec("lines", (self.window_lines, self.points), "<f2", auxiliary=("num_lines",))

    def read(self, item: Item) -> np.ndarray:
        """(window_lines, points) float16; lines after the last real one are 0.

        Raises:
            UnreadableImage: as `load_scan`, or the scan has fewer lines than the window needs.
            InputError: as `load_scan`.
            OSError: the file cannot be opened or read.
        """
        window = json.loads(item.detail)
        assert window["window"] == self.window_lines, (window, self.window_lines)
        stat = item.path.stat()
        scan = _levelled_scan(item.path, self.points, stat.st_size, stat.st_mtime_ns)
        lines = scan[window["start"] : window["start"] + window["lines"]]
        if len(lines) < window["lines"]:
            raise UnreadableImage(item.path, f"{len(scan)} lines, but the label table has more")
        padded = np.zeros((self.window_lines, self.points), dtype="<f2")
        padded[: len(lines)] = lines
        return padded

    def inputs(self, source: RawSource, auxiliary: tuple[int, ...] = ()) -> list[ModelInput]:
        """All windows of a file, each line in one of them; or one window, from an item or an array."""
        if isinstance(source, Path):
            return [
                ModelInput(self.read(window.item), (window.lines,), slice(window.first, window.lines))
                for window in tile_windows(source, len(load_scan(source)), self.window_lines)
            ]
        if isinstance(source, Item):
            auxiliary = (json.loads(source.detail)["lines"],)
        auxiliary = auxiliary or (self.window_lines,)
        return [replace(one, parts=slice(0, auxiliary[0])) for one in super().inputs(source, auxiliary)]


@dataclass(frozen=True)
class Window:
    """One window of a scan.

    Attributes:
        item: the input of `ScanLinePreprocess.read`.
        start: the scan's line that is the window's first.
        lines: number of real lines.
        first: its first line that is not in the window before it.
    """

    item: Item
    start: int
    lines: int
    first: int


def tile_windows(path: Path, num_lines: int, window_lines: int) -> list[Window]:
    """Windows that tile a scan; the last one ends with the scan and overlaps the one before it."""
    windows = []
    lines = min(window_lines, num_lines)
    for tile in range(0, num_lines, window_lines):
        start = max(min(tile, num_lines - window_lines), 0)
        detail = json.dumps({"start": start, "lines": lines, "window": window_lines})
        windows.append(Window(Item((path,), detail), start, lines, tile - start))
    return windows


def load_scan(path: Path) -> np.ndarray:
    """Read the forward scan of a .npz, .npy or Nanonis .sxm file; rows are lines in the order of the file.

    Of several arrays the first one named in `TOPOGRAPHY` or `CURRENT`, in this order, whose lines are not all constant
    is used (the topography is constant in a scan at constant height); if no name is known, the only array.

    Returns:
        (lines, points) float64, NaN where nothing was measured.

    Raises:
        UnreadableImage: damaged, not a two-dimensional array of numbers, every line missing (see `missing_lines`), or
            every line constant.
        InputError: several arrays with unknown names; .sxm without nanonispy2 installed.
        OSError: the file cannot be opened or read.
    """
    channels = _read_channels(path)
    known = [name for name in (*TOPOGRAPHY, *CURRENT) if name in channels]
    if not known:
        if len(channels) > 1:
            raise InputError(
                f"{path}: which of the arrays {', '.join(sorted(channels))} is the forward topography? "
                f"rename it to {TOPOGRAPHY[0]!r}"
            )
        known = list(channels)
    scans = [_finite_scan(path, channels[name]) for name in known]
    measured = [scan for scan in scans if not missing_lines(scan).all()]
    if not measured:
        raise UnreadableImage(path, "aborted scan (less than half of every line was measured)")
    varied = [scan for scan in measured if _varies(scan)]
    if not varied:
        raise UnreadableImage(path, "every line is constant")
    return varied[0]


def missing_lines(scan: np.ndarray) -> np.ndarray:
    """(lines,) bool: lines of a scan (lines, points) with less than half of their points measured."""
    return np.isfinite(scan).mean(axis=1) < _MIN_FINITE


def fill_lines(scan: np.ndarray) -> np.ndarray:
    """Fill the gaps of a scan (lines, points) that has at least one line that is not missing.

    Gaps within a line are interpolated along it. Missing lines are interpolated between their nearest neighbours, and
    repeat the nearest line at either end.
    """
    filled = scan.copy()
    missing = missing_lines(scan)
    points = np.arange(scan.shape[1])
    for line in np.flatnonzero(~missing & ~np.isfinite(scan).all(axis=1)):
        known = np.isfinite(scan[line])
        filled[line] = np.interp(points, points[known], scan[line, known])
    if missing.any():
        rows, present = np.arange(len(scan)), np.flatnonzero(~missing)
        at = np.interp(rows, present, np.arange(len(present)))[missing]  # fractional index into `present`
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        share = (at - low)[:, None]
        filled[missing] = (1 - share) * filled[present[low]] + share * filled[present[high]]
    return filled


def augment_lines(
    pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: "Augmentation", seed: int
) -> np.ndarray:
    """The requested views of a batch of windows: all lines mirrored together, Gaussian noise, lines dropped.

    Noise is relative to the mean standard deviation of the window's lines. A dropped line is set to the window's mean,
    which is neutral under either normalisation of the model. Lines keep their order, since the class of a line depends
    on the lines before and after it. Padded lines (all 0) are unchanged.

    Args:
        pixels: (B, H, P) float16; the rest as in `Augment`.
    """
    out = np.array(pixels)
    if preset == "none":
        return out
    for i, view_seed in enumerate(view_seeds(seed, rows, views).tolist()):
        rng = np.random.default_rng(view_seed)
        mirrored, dropout = rng.random() < 0.5, rng.random((out.shape[1],))
        real = pixels[i].any(axis=1)
        lines = pixels[i, real].astype(np.float32)
        if not len(lines):
            continue
        noise_std = _NOISE[preset] * lines.std(axis=1).mean()
        noisy = lines + rng.normal(0, noise_std, lines.shape)
        noisy[dropout[real] < _DROPOUT[preset]] = lines.mean()
        out[i, real] = np.clip(noisy[:, ::-1] if mirrored else noisy, -_FLOAT16_LIMIT, _FLOAT16_LIMIT)
    return out


@lru_cache(maxsize=16)  # the windows of a scan are read one after the other
def _levelled_scan(path: Path, points: int, size_bytes: int, mtime_ns: int) -> np.ndarray:
    """(lines, points) float16; the file's size and mtime are arguments so that a changed file is read again."""
    scan = fill_lines(load_scan(path))
    along = np.linspace(-0.5, 0.5, scan.shape[1])
    scan = scan - np.median(scan)
    scan = scan - np.median(scan @ along / (along @ along)) * along
    scan = scan - np.median(scan)
    low, high = np.quantile(scan, (0.25, 0.75))
    spread = (high - low) / _NORMAL_IQR or scan.std() or 1.0
    resampled = _resample(scan / spread, points)
    return np.clip(resampled, -_FLOAT16_LIMIT, _FLOAT16_LIMIT).astype("<f2")


def _resample(scan: np.ndarray, points: int) -> np.ndarray:
    """Resample the lines of a scan to `points`: area averaging to shrink, linear interpolation to grow."""
    method = cv2.INTER_AREA if points < scan.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(scan, (points, len(scan)), interpolation=method)


def _varies(scan: np.ndarray) -> bool:
    """Whether any line of a scan (lines, points) has two different values."""
    finite = np.isfinite(scan)
    highest = np.where(finite, scan, -np.inf).max(axis=1)
    lowest = np.where(finite, scan, np.inf).min(axis=1)
    return bool((highest > lowest).any())


def _finite_scan(path: Path, values: np.ndarray) -> np.ndarray:
    """`values` as float64, infinities as NaN."""
    if values.dtype.kind not in "iuf":
        raise UnreadableImage(path, f"not numbers ({values.dtype})")
    if values.ndim != 2 or 0 in values.shape:
        raise UnreadableImage(path, f"not an array of lines and points (shape {values.shape})")
    with np.errstate(all="ignore"):
        scan = values.astype(np.float64)
    scan[~np.isfinite(scan)] = np.nan
    return scan


def _read_channels(path: Path) -> dict[str, np.ndarray]:
    """The file's arrays by lower-case name: those with known names, else all two-dimensional ones."""
    suffix = path.suffix.lower()
    if suffix not in SCAN_SUFFIXES:
        raise UnreadableImage(path, f"not a scan; give {', '.join(SCAN_SUFFIXES)}")
    if suffix == ".sxm":
        return _read_sxm(path)
    try:
        with path.open("rb") as file:  # np.load does not close the file of a damaged archive
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            known = [name for name in loaded.files if name.lower() in (*TOPOGRAPHY, *CURRENT)]
            arrays = {name.lower(): loaded[name] for name in known or loaded.files}
    except _DAMAGE_ERRORS as error:
        raise UnreadableImage(path, f"damaged, or not plain numbers ({' '.join(str(error).split())})") from None
    arrays = {name: values for name, values in arrays.items() if known or values.ndim == 2}
    if not arrays:
        raise UnreadableImage(path, "no array of lines and points in it")
    return arrays


def _read_sxm(path: Path) -> dict[str, np.ndarray]:
    try:
        from nanonispy2.read import Scan
    except ImportError:
        raise InputError(f"{path}: reading Nanonis files needs nanonispy2; pip install nanonispy2") from None
    if path.suffix != ".sxm":
        raise UnreadableImage(path, "nanonispy2 reads no file of this suffix; rename it to end in .sxm")
    end_of_header = path.read_bytes().find(_SXM_END)
    if end_of_header < 0:
        raise UnreadableImage(path, "no Nanonis header, or truncated within it")

    class QuietScan(Scan):
        """Scan itself warns about header bytes that are not UTF-8, e.g. a degree sign, when it looks for the end."""

        def start_byte(self) -> int:
            return end_of_header + len(_SXM_END)

    try:
        signals = QuietScan(str(path)).signals
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged bytes raise anything: IndexError, KeyError, ValueError, its own
        raise UnreadableImage(path, f"truncated, damaged, or without a backward scan ({error!r})") from None
    # Lines are in the order of recording, whatever SCAN_DIR is; numbers are big-endian.
    return {f"{name.lower()}_fwd": scans["forward"].astype(np.float32) for name, scans in signals.items()}
