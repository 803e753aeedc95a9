"""Keeps decoders from printing: damaged files are reported by the errors they raise, not on stderr."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import cv2

# warnings.catch_warnings changes the whole process: two threads inside it could restore the wrong filters.
_LOCK = threading.Lock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Python warnings, in one thread at a time; pydicom and Pillow warn of much that does not matter here."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def silence_opencv() -> None:
    """Stop OpenCV from logging damaged files to stderr; they are found by what the decoder returns."""
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
