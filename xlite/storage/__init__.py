"""Everything the library keeps, on a local file system; the one place to add another back end.

A back end has to offer what these modules do: replace a whole file atomically, read it, list and delete (`files`); an
exclusive lock on a folder that is released when its holder dies (`locks`); arrays that many processes map read-only
(`arrays`); tensors and their metadata in one file (`tensors`). `text` is about content and is the same for all.
"""
