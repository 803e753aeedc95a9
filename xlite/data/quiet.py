"""Keeps decoders from printing: damaged files are reported by the errors they raise, not on stderr."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import cv2

_LOCK = threading.Lock()
_inside: list[ExitStack] = []
"""One entry for each thread inside `without_warnings`, the same for all."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Python warnings; pydicom and Pillow warn of much that does not matter here.

    The filters are the whole process's: the first thread inside sets them, the last one restores them.
    """
    with _LOCK:
        filters = _inside[0] if _inside else ExitStack()
        if not _inside:
            filters.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _inside.append(filters)
    try:
        yield
    finally:
        with _LOCK:
            _inside.pop()
            if not _inside:
                filters.close()


@cache
def silence_opencv() -> None:
    """Stop OpenCV from logging damaged files to stderr; they are found by what the decoder returns."""
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
