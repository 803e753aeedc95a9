"""Draw what a promoted model looks at: the same as `xlite explain`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["explain", *sys.argv[1:]])
