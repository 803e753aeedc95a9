"""A study's ranked trials, printed and exported: `python runners/leaderboard.py --help`."""

import sys

from xlite.commands import cli, leaderboard

if __name__ == "__main__":
    sys.exit(cli.run(leaderboard.run, leaderboard.parser()))
