"""Small synthetic data sets in the layouts people have, made on demand: `make(name, folder)`."""

from pathlib import Path

from image_cases import formats, further, public_sets, radiographs, tables  # noqa: F401  each registers its cases
from image_cases.drawing import CASES


def make(name: str, folder: Path) -> tuple[Path, list[str]]:
    """Write a case into `folder`, which must be empty.

    Returns:
        The folder that --data names, and the case's further arguments.
    """
    function, arguments, sub = CASES[name]
    function(folder)
    return folder / sub, list(arguments)
