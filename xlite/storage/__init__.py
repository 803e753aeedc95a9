"""Files on a local file system; the place to add another back end.

A back end has to replace a whole file atomically, read, list and delete it (`files`), lock a folder until the holder
ends (`locks`), map arrays read-only in many processes (`arrays`), and keep tensors with metadata in one file
(`tensors`). `text` is independent of the back end.
"""
