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
        InputError: as `xlite.package.predict.open_package` and `xlite.predictor.load`; a model.onnx for a GPU or with a
            `target_spec`.
    """
    from xlite.errors import InputError
    from xlite.package.manifest import MODEL, is_package  # here, so that `import xlite` stays quick

    folder, needs_torch = Path(path).expanduser(), target_spec is not None or device not in (None, "cpu")
    is_graph = folder.suffix == Path(MODEL).suffix
    if is_graph and needs_torch:
        raise InputError(
            f"{folder}: runs on the CPU, by what its graph says; leave out device= and target_spec=, or give promoted/"
        )
    if is_graph or (is_package(folder) and not needs_torch):
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
