"""What makes a package stand alone: predict.py, requirements.txt, and the files of X-Lite that predictions need."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from xlite.storage.files import write_text

RUNTIME, SCRIPT, REQUIREMENTS = "runtime", "predict.py", "requirements.txt"
_LIBRARY = Path(__file__).resolve().parents[1]
_START = "xlite.commands.predict"

_SCRIPT = '''"""Predict what images show: python predict.py IMAGES (--help lists the options).

Needs Python 3.11 or newer and the packages in requirements.txt; X-Lite's own files are beside it in runtime/.
"""

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("error: this needs Python 3.11 or newer")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "runtime"))

from xlite.commands import cli, predict  # noqa: E402

if __name__ == "__main__":
    try:
        cli.run(predict.run, predict.parser(HERE))
    except ImportError as error:
        print(f"error: {error}; pip install -r {HERE / 'requirements.txt'}", file=sys.stderr)
        sys.exit(2)
'''

_REQUIREMENTS = """\
# What predict.py needs, with Python 3.11 or newer: pip install -r requirements.txt
numpy>=2.0
onnxruntime>=1.20
opencv-python-headless>=4.10
pillow>=11.3
pydicom>=3.0.1
# Only for predictions in .parquet:
# pyarrow>=18.0
# Only for Nanonis .sxm files:
# nanonispy2>=1.2
# Only for DICOM files that are compressed as JPEG, JPEG-LS or JPEG 2000:
# python-gdcm>=3.0.24
# pylibjpeg>=2.0
# pylibjpeg-openjpeg>=2.0
"""


def write_runtime(folder: Path) -> None:
    """Write predict.py, requirements.txt and runtime/xlite/ into a package's folder, before its manifest.

    runtime/ is made anew. A preprocessing class of the user's own (described with "class": "module:Name") is not
    copied: its module has to lie beside predict.py, or elsewhere on Python's path.
    """
    shutil.rmtree(folder / RUNTIME, ignore_errors=True)
    for source in runtime_files():
        target = folder / RUNTIME / "xlite" / source.relative_to(_LIBRARY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    write_text(folder / SCRIPT, _SCRIPT)
    write_text(folder / REQUIREMENTS, _REQUIREMENTS)


def runtime_files() -> list[Path]:
    """The files of this library that `xlite predict` imports, wherever in a file it does, and their packages'.

    A package's __init__.py is copied but not followed: that of `xlite` offers PyTorch's predictor too, when asked.
    """
    found: set[Path] = set()
    waiting = [_START]
    while waiting:
        file = _file_of(waiting.pop())
        if file is None or file in found:
            continue
        found.add(file)
        found.update(parent / "__init__.py" for parent in file.parents if parent.is_relative_to(_LIBRARY))
        waiting += _imported(ast.parse(file.read_text(encoding="utf-8")))
    return sorted(found)


def _file_of(module: str) -> Path | None:
    """The file of "xlite.a.b"; None for other modules, for packages, and for names inside modules."""
    first, *parts = module.split(".")
    file = _LIBRARY.joinpath(*parts).with_suffix(".py") if first == "xlite" and parts else None
    return file if file is not None and file.is_file() else None


def _imported(tree: ast.AST) -> Iterator[str]:
    """Names of what is imported, and of what may be a module in it, except under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imported(node)
