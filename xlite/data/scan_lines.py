"""STM scans as lines: reading one file, levelling it, cutting windows of neighbouring lines, augmenting them."""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from xlite.config import Augmentation
from xlite.data.table import Item
from xlite.data.unreadable import UnreadableImage
from xlite.data.views import view_seeds
from xlite.errors import InputError

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
"""Names of the forward topography in a .npz or .sxm, in lower case, the first that is there counts."""
CURRENT = ("current_fwd", "current_forward", "tf1")
"""Names of the forward current, read where the topography is flat because the feedback was off."""

_SXM_END = b":SCANIT_END:\n"
_SAFE = 60_000.0  # float16 ends at 65,504
_DAMAGE = (ValueError, EOFError, OverflowError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
_NORMAL_IQR = 1.349  # of a normal distribution with standard deviation 1
_LEAST_FINITE = 0.5  # a line with a smaller share of finite points counts as missing
_NOISE: Mapping[Augmentation, float] = {"light": 0.02, "medium": 0.05, "strong": 0.1}
_DROPOUT: Mapping[Augmentation, float] = {"light": 0.0, "medium": 0.02, "strong": 0.05}


@dataclass(frozen=True)
class ScanLinePreprocess:
    """A window of a scan: levelled, each line resampled, padded with zeros.

    `Item.detail` is JSON with the window's first line ("start"), its number of real lines ("lines") and `window_lines`
    ("window"). Missing lines are interpolated from their neighbours. The scan loses its median and its median slope
    along a line, and is divided by its interquartile range / 1.349, so that heights of any unit are a few units of 1;
    what then lies beyond +-60,000 is clipped, so that float16 holds it.

    Attributes:
        points: of a resampled line, at least 2.
        window_lines: lines of one example, at least 1.
        version: raise it when `read` changes what it gives.
    """

    points: int
    window_lines: int
    version: int = 1

    def __post_init__(self) -> None:
        for name, least in (("points", 2), ("window_lines", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, but got {getattr(self, name)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(window_lines, points)."""
        return self.window_lines, self.points

    @property
    def dtype(self) -> str:
        """Half precision."""
        return "<f2"

    def read(self, item: Item) -> np.ndarray:
        """The window: (window_lines, points) float16, lines after the last real one 0.

        Raises:
            UnreadableImage: as `load_scan`, or the scan has fewer lines than the window needs.
            OSError: the file cannot be read at all.
        """
        place = json.loads(item.detail)
        assert place["window"] == self.window_lines, (place, self.window_lines)
        stat = item.path.stat()
        scan = _levelled_scan(item.path, self.points, stat.st_size, stat.st_mtime_ns)
        lines = scan[place["start"] : place["start"] + place["lines"]]
        if len(lines) < place["lines"]:
            raise UnreadableImage(item.path, f"{len(scan)} lines, but its table speaks of more")
        window = np.zeros(self.shape, dtype=self.dtype)
        window[: len(lines)] = lines
        return window


def load_scan(path: Path) -> np.ndarray:
    """The forward scan of a .npz, .npy or Nanonis .sxm file; rows are lines in the order in which the file has them.

    Of several arrays the first named in `TOPOGRAPHY` is read, but if each of its lines is constant (a scan at constant
    height) the first one in `CURRENT` that is not; without a known name the only array. A .npy is that array.

    Returns:
        (lines, points) float64, NaN where nothing was measured.

    Raises:
        UnreadableImage: damaged, not two axes of numbers, nothing measured, or no line that is not constant.
        InputError: several arrays of unknown names; .sxm without nanonispy2.
        OSError: the file cannot be read at all.
    """
    channels = _read_channels(path)
    known = [name for name in (*TOPOGRAPHY, *CURRENT) if name in channels]
    if not known:
        if len(channels) > 1:
            raise InputError(
                f"{path}: which of the arrays {', '.join(sorted(channels))} is the forward topography? "
                f"name it {TOPOGRAPHY[0]!r}"
            )
        known = list(channels)
    scans = [_finite_scan(path, channels[name]) for name in known]
    measured = [scan for scan in scans if np.isfinite(scan).any()]
    if not measured:
        raise UnreadableImage(path, "aborted scan (nothing but NaN)")
    varied = [scan for scan in measured if _varies(scan)]
    if not varied:
        raise UnreadableImage(path, "every line is constant")
    return varied[0]


def missing_lines(scan: np.ndarray) -> np.ndarray:
    """(lines,) bool: lines of a scan (lines, points) of which less than half was measured."""
    return np.isfinite(scan).mean(axis=1) < _LEAST_FINITE


def fill_lines(scan: np.ndarray) -> np.ndarray:
    """A scan (lines, points) without NaN.

    Gaps in a line are interpolated along it; missing lines between the nearest others, at an end they repeat the
    nearest. At least one line must not be missing.
    """
    filled = scan.copy()
    missing = missing_lines(scan)
    points = np.arange(scan.shape[1])
    for line in np.flatnonzero(~missing & ~np.isfinite(scan).all(axis=1)):
        known = np.isfinite(scan[line])
        filled[line] = np.interp(points, points[known], scan[line, known])
    if missing.any():
        rows, present = np.arange(len(scan)), np.flatnonzero(~missing)
        at = np.interp(rows, present, np.arange(len(present)))[missing]  # between which of the lines that are there
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        share = (at - low)[:, None]
        filled[missing] = (1 - share) * filled[present[low]] + share * filled[present[high]]
    return filled


def augment_lines(
    pixels: np.ndarray, rows: np.ndarray, views: np.ndarray, *, preset: Augmentation, seed: int
) -> np.ndarray:
    """The asked-for views of some windows: all lines mirrored together, Gaussian noise, lines dropped.

    Noise is a share of the mean standard deviation of the window's lines; a dropped line is set to the window's mean,
    which stands for "nothing seen" under either normalisation of the model. Lines keep their order, since what a line
    is depends on the lines before and after it. Padded lines (all 0) stay as they are.

    Args:
        pixels: (B, H, P) float16, the rows' cached windows.
        rows: (B,) row numbers, the identity of each window.
        views: (B,) view numbers.
        preset: "none" returns the windows unchanged.
        seed: the study's augmentation seed.

    Returns:
        An array of the same shape and type.
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
        out[i, real] = np.clip(noisy[:, ::-1] if mirrored else noisy, -_SAFE, _SAFE)
    return out


@lru_cache(maxsize=16)  # the windows of a scan are read one after the other
def _levelled_scan(path: Path, points: int, size_bytes: int, changed_ns: int) -> np.ndarray:
    """(lines, points) float16; the file's size and time are there so that a changed file is read anew."""
    scan = fill_lines(load_scan(path))
    along = np.linspace(-0.5, 0.5, scan.shape[1])
    scan = scan - np.median(scan)
    scan = scan - np.median(scan @ along / (along @ along)) * along
    scan = scan - np.median(scan)
    low, high = np.quantile(scan, (0.25, 0.75))
    spread = (high - low) / _NORMAL_IQR or scan.std() or 1.0
    resampled = _resample(scan / spread, points)
    return np.clip(resampled, -_SAFE, _SAFE).astype("<f2")


def _resample(scan: np.ndarray, points: int) -> np.ndarray:
    """Along the lines: area averaging where it shrinks, linear where it grows."""
    method = cv2.INTER_AREA if points < scan.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(scan, (points, len(scan)), interpolation=method)


def _varies(scan: np.ndarray) -> bool:
    """Whether any line of (lines, points) has two different values."""
    finite = np.isfinite(scan)
    highest = np.where(finite, scan, -np.inf).max(axis=1)
    lowest = np.where(finite, scan, np.inf).min(axis=1)
    return bool((highest > lowest).any())


def _finite_scan(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        raise UnreadableImage(path, f"not numbers ({values.dtype})")
    if values.ndim != 2 or 0 in values.shape:
        raise UnreadableImage(path, f"not a scan of lines and points (shape {values.shape})")
    with np.errstate(all="ignore"):
        scan = values.astype(np.float64)
    scan[~np.isfinite(scan)] = np.nan
    return scan


def _read_channels(path: Path) -> dict[str, np.ndarray]:
    """The file's arrays by name in lower case: the known ones, or else all that have two axes."""
    assert path.suffix in SCAN_SUFFIXES, path
    if path.suffix == ".sxm":
        return _read_sxm(path)
    try:
        with path.open("rb") as file:  # np.load itself leaves the file of a damaged archive open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            known = [name for name in loaded.files if name.lower() in (*TOPOGRAPHY, *CURRENT)]
            arrays = {name.lower(): loaded[name] for name in known or loaded.files}
    except _DAMAGE as error:
        raise UnreadableImage(path, f"damaged, or not plain numbers ({' '.join(str(error).split())})") from None
    arrays = {name: values for name, values in arrays.items() if known or values.ndim == 2}
    if not arrays:
        raise UnreadableImage(path, "holds no array of lines and points")
    return arrays


def _read_sxm(path: Path) -> dict[str, np.ndarray]:
    try:
        from nanonispy2.read import Scan
    except ImportError:
        raise InputError(f"{path}: Nanonis files need the package nanonispy2; pip install nanonispy2") from None
    end_of_header = path.read_bytes().find(_SXM_END)
    if end_of_header < 0:
        raise UnreadableImage(path, "no Nanonis header, or cut short in it")

    class QuietScan(Scan):
        """Scan's own search for the header's end warns of bytes that are not UTF-8, e.g. a degree sign."""

        def start_byte(self) -> int:
            return end_of_header + len(_SXM_END)

    try:
        signals = QuietScan(str(path)).signals
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damage shows as whatever comes of it: IndexError, KeyError, ValueError, its own
        raise UnreadableImage(path, f"cut short, damaged, or of one direction only ({error!r})") from None
    # Lines are in the order of recording whatever SCAN_DIR says, and numbers are big-endian.
    return {f"{name.lower()}_fwd": parts["forward"].astype(np.float32) for name, parts in signals.items()}
