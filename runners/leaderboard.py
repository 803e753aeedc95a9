"""A study's ranked trials, printed and exported: the same as `xlite leaderboard`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["leaderboard", *sys.argv[1:]])
