"""A package passed on: a copy of its files alone, or one .zip of them."""

import shutil
import uuid
import zipfile
from pathlib import Path

from xlite.errors import InputError
from xlite.package.manifest import foreign_files, is_package, manifest_files
from xlite.storage.files import atomic_write
from xlite.storage.folders import replace_folder

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest time: equal packages give equal bytes


def check_place(out: Path) -> None:
    """Refuse to put a package where something else is.

    Raises:
        InputError: `out` is a file, or a folder with something other than a package in it.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_package(out):
        raise InputError(f"--out {out}: there is something else than a package; name an empty or a new folder")
    if others := foreign_files(out):
        raise InputError(f"--out {out}: {others[0]} there is not of the package; move it, or name another folder")


def copy_package(folder: Path, out: Path) -> Path:
    """Copy the package in `folder` to `out`, replacing a package there; `out` is whole or as it was."""
    check_place(out)
    if out.resolve() == folder.resolve():
        raise InputError(f"--out {out}: that is the package itself; name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        for name in manifest_files(folder):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, temporary / name)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def zip_package(folder: Path, file: Path) -> Path:
    """Write the package in `folder` as one .zip, its files in a folder of the .zip's name; equal for equal files."""
    with atomic_write(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in manifest_files(folder):
            entry = zipfile.ZipInfo(f"{file.stem}/{name}", _EPOCH)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / name).read_bytes())
    return file
