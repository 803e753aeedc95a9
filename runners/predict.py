"""Predictions of a packaged model for files and folders: the same as `xlite predict`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
