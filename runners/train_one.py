"""Train one configuration without a search: the same as `xlite train`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
