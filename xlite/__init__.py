"""X-Lite: hyper-parameter search for knowledge distillation of small medical-image classifiers.

`xlite.load(folder)` opens a promoted student and predicts from raw files; see `xlite.package.predict` (ONNX
Runtime) and `xlite.predictor` (PyTorch).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlite.package.predict import PackagePredictor
    from xlite.predictor import Predictor
    from xlite.tasks.target_spec import TargetSpec

__version__ = "0.1.0"
__all__ = ["PackagePredictor", "Predictor", "load"]

_MODULES = {"PackagePredictor": "xlite.package.predict", "Predictor": "xlite.predictor"}


def load(
    path: str | Path, *, target_spec: "TargetSpec | None" = None, device: str | None = None
) -> "PackagePredictor | Predictor":
    """Open a saved model to predict from raw files; PyTorch is imported only where it is needed.

    Args:
        path: a study's `promoted/`, which ONNX Runtime runs on the CPU if it is a package; or what
            `xlite.predictor.load` takes, by PyTorch: the folder of a trial or a teacher, or one .safetensors file.
        target_spec: for kinds of targets that are not of this library, by PyTorch.
        device: "cpu"; or "cuda", by PyTorch.

    Raises:
        InputError: as `xlite.package.predict.open_package` and `xlite.predictor.load`.
    """
    from xlite.package.manifest import MANIFEST, MODEL  # here, so that `import xlite` stays quick

    folder = Path(path).expanduser()
    if folder.suffix == Path(MODEL).suffix or (
        target_spec is None and device != "cuda" and (folder / MANIFEST).is_file()
    ):
        from xlite.package.predict import open_package

        return open_package(folder)
    from xlite import predictor

    return predictor.load(path, target_spec=target_spec, device=device)


def __getattr__(name: str) -> Any:
    """Import the classes only when one of them is used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
