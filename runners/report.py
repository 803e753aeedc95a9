"""A study as one HTML file: the same as `xlite report`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
