"""Search, rank and promote a distilled student: the same as `xlite tune`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
