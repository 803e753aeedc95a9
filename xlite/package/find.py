"""What to predict: pictures, scans and RSNA's studies named on a command line, or found below folders."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xlite.data.input_spec import InputSpec
from xlite.data.scan_lines import SCAN_SUFFIXES
from xlite.data.sources.walk import may_be_picture, walk_files
from xlite.data.table import Item
from xlite.errors import InputError
from xlite.package.rsna_study import find_levels
from xlite.storage.text import escape_control_characters


@dataclass(frozen=True)
class Found:
    """One source of a prediction.

    Attributes:
        id: its name in the output: relative to the folder it was found in, control characters escaped.
        source: its file, or a stack of slices.
        auxiliary: the integers that go with it.
        problem: why there is nothing to predict from, "" if there is.
    """

    id: str
    source: Path | Item
    auxiliary: tuple[int, ...] = ()
    problem: str = ""

    @property
    def file(self) -> Path:
        """Its file; of a stack that of the first slice."""
        return self.source if isinstance(self.source, Path) else self.source.path

    def reason(self, error: InputError) -> str:
        """Why it was passed over; without the file that errors begin with, since the id names it."""
        return escape_control_characters(str(error).removeprefix(f"{self.file}: "))


@dataclass(frozen=True)
class Search:
    """Finds the sources below `places`, which a person named.

    Attributes:
        spec: of the model's input, which says what is looked for.
        passed_over: suffix -> number of files in folders that are something else, once `found` has run.
    """

    places: Sequence[Path]
    spec: InputSpec
    passed_over: Counter[str] = field(default_factory=Counter)

    def found(self) -> Iterator[Found]:
        """In the order of `places`, in each by name; hidden files and folders are left out.

        A file that is named itself is always taken, whatever it looks like.

        Raises:
            InputError: no such file or folder; a folder that cannot be read; for levels of the spine also a place
                without coordinates, see `find_levels`.
        """
        for place in self.places:
            if not place.exists():
                raise InputError(f"{place}: no such file or folder")
            before = "" if len(self.places) == 1 else f"{place.as_posix().rstrip('/')}/"
            if self.spec.layout == "slices":
                for stack in find_levels(place, self.spec.num_slices):
                    name = escape_control_characters(before + stack.id)
                    yield Found(name, stack.item, (stack.level,), stack.problem)
            elif place.is_dir():
                yield from self._below(place, before)
            else:
                name = place.name if len(self.places) == 1 else place.as_posix()
                yield Found(escape_control_characters(name), place)

    def _below(self, folder: Path, before: str) -> Iterator[Found]:
        for inside, _, names in walk_files(folder):
            for name in sorted(names):
                path = folder / (inside + name)
                if self._is_wanted(path):
                    yield Found(escape_control_characters(before + inside + name), path)
                else:
                    self.passed_over[path.suffix.lower()] += 1

    def _is_wanted(self, path: Path) -> bool:
        return path.suffix.lower() in SCAN_SUFFIXES if self.spec.layout == "lines" else may_be_picture(path)
