"""Retrain, test and package a study's winner: `python runners/promote.py --help`."""

import sys

from xlite.commands import cli, promote

if __name__ == "__main__":
    sys.exit(cli.run(promote.run, promote.parser()))
