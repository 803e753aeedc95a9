"""Package a promoted model: the same as `xlite package`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["package", *sys.argv[1:]])
