"""Build, find or check a study's teacher bank: the same as `xlite bank`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["bank", *sys.argv[1:]])
