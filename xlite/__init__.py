"""X-Lite: hyper-parameter search for knowledge distillation of small medical-image classifiers.

`xlite.load(folder)` opens a promoted student and predicts from raw files; see `xlite.predictor`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlite.predictor import Predictor, load

__version__ = "0.1.0"
__all__ = ["Predictor", "load"]


def __getattr__(name: str) -> Any:
    """Import PyTorch only when one of these is used, so that `import xlite` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from xlite import predictor

    return getattr(predictor, name)
