"""What a study's trials say: the same as `xlite analyze`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["analyze", *sys.argv[1:]])
