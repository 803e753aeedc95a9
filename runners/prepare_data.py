"""Read, cache and split a data set: the same as `xlite prepare`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])
