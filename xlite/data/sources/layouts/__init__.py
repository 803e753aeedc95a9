"""Layouts of well-known data sets: values, one file each, tried in order."""

from dataclasses import replace
from typing import Any

from xlite.data.sources.folder_options import NONE, FolderOptions
from xlite.data.sources.image_files import ImageFiles
from xlite.data.sources.layouts.breakhis import BREAKHIS
from xlite.data.sources.layouts.chexpert import CHEXPERT
from xlite.data.sources.layouts.eyepacs import EYEPACS
from xlite.data.sources.layouts.ham10000 import HAM10000
from xlite.data.sources.layouts.isic2019 import ISIC2019
from xlite.data.sources.layouts.layout import Found, Layout
from xlite.data.sources.layouts.mimic_cxr import MIMIC_CXR
from xlite.data.sources.layouts.mura import MURA
from xlite.data.sources.layouts.odir import ODIR
from xlite.data.sources.layouts.padchest import PADCHEST
from xlite.data.sources.layouts.rsna_pneumonia import RSNA_PNEUMONIA
from xlite.data.sources.layouts.vindr import VINDR_CXR, VINDR_MAMMO
from xlite.data.sources.tables import LabelTable, is_table
from xlite.errors import InputError

LAYOUTS: tuple[Layout, ...] = (
    CHEXPERT,
    MIMIC_CXR,
    PADCHEST,
    VINDR_CXR,
    VINDR_MAMMO,
    RSNA_PNEUMONIA,
    ISIC2019,
    HAM10000,
    EYEPACS,
    ODIR,
    MURA,
    BREAKHIS,
)


def known_layout(files: ImageFiles, options: FolderOptions) -> tuple[LabelTable, FolderOptions] | None:
    """The folder as a plain table, and the options to read it by, if it has a known layout that is not ruled out.

    Raises:
        InputError: the layout asked for is unknown, or the folder has not got it.
    """
    if options.layout == NONE or (options.layout is None and (options.table or options.file_column)):
        return None
    tables = {path.lower(): path for path in files.others if "/" not in path and is_table(files.folder / path)}
    found = Found(files, tables)
    layouts = LAYOUTS
    if options.layout is not None:
        layouts = tuple(layout for layout in LAYOUTS if layout.name == options.layout)
        if not layouts:
            raise InputError(
                f"--layout {options.layout}: use none or one of {', '.join(each.name for each in LAYOUTS)}"
            )
    layout = next((layout for layout in layouts if layout.recognise(found)), None)
    if layout is None:
        if options.layout is not None:
            raise InputError(f"{files.folder}: it is not laid out as {layouts[0].title}; leave --layout out")
        return None
    reading = layout.read(found)
    said = {name for name, value in vars(options).items() if value != getattr(FolderOptions(), name)}
    choices: dict[str, Any] = {name: value for name, value in reading.choices.items() if name not in said}
    note = f"looks like {layout.title}: {reading.says}; --layout none reads it plainly"
    return LabelTable(files.folder / reading.source, reading.rows, (note,)), replace(options, **choices)
