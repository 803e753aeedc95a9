"""Train a teacher: the same as `xlite teacher`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["teacher", *sys.argv[1:]])
