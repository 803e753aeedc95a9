"""Preprocessing to and from a model's description."""

from collections.abc import Mapping
from dataclasses import fields
from functools import reduce
from importlib import import_module
from typing import Any

from xlite.data.decode import ImagePreprocess
from xlite.data.preprocess import Preprocess, parameters
from xlite.data.scan_lines import ScanLinePreprocess
from xlite.data.slices import SlicePreprocess
from xlite.errors import InputError

PREPROCESSES: Mapping[str, type[Preprocess]] = {
    kind.__name__: kind for kind in (ImagePreprocess, SlicePreprocess, ScanLinePreprocess)
}


def described(preprocess: Preprocess) -> dict[str, Any]:
    """`parameters`, and for a class outside this library "class": "module:Name"."""
    kind = type(preprocess)
    known = PREPROCESSES.get(kind.__name__) is kind
    return parameters(preprocess) | ({} if known else {"class": f"{kind.__module__}:{kind.__qualname__}"})


def preprocess_from(description: Mapping[str, Any], *, source: str) -> Preprocess:
    """The inverse of `described`.

    Args:
        source: the description's file, for errors.

    Raises:
        InputError: the class is unknown, has another version, or does not take these fields.
    """
    values = dict(description)
    name, place = str(values.pop("kind", None)), values.pop("class", None)
    kind = PREPROCESSES.get(name) if place is None else _imported(str(place), source)
    if kind is None:
        raise InputError(f"{source}: its inputs were made by {name}, which this version of X-Lite does not have")
    version = next((field.default for field in fields(kind) if field.name == "version"), None)
    if values.get("version") != version:
        raise InputError(
            f"{source}: its inputs were made by version {values.get('version')} of {name}, this X-Lite makes version "
            f"{version}; use the X-Lite it was trained with, or train it again"
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: {name} cannot be made from its description ({error})") from None


def _imported(place: str, source: str) -> type[Preprocess]:
    """The class "module:Name"; it must be a `Preprocess`: a file must not choose what is called."""
    module, _, name = place.partition(":")
    try:
        found: object = reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise InputError(
            f"{source}: its preprocessing {place} cannot be imported ({error}); it is not of this library: "
            f"put the module {module} where Python finds it, e.g. on PYTHONPATH"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Preprocess)):
        raise InputError(f"{source}: {place} is not an xlite.data.preprocess.Preprocess")
    return found
