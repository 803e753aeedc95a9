"""Try this machine's GPU in minutes: the same as `xlite check-gpu`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["check-gpu", *sys.argv[1:]])
