"""Make a package's model smaller: the same as `xlite export`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
