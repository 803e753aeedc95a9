"""Judge a promoted model on other data: the same as `xlite evaluate`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
