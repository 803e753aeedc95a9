"""What a study's trials say: `python runners/analyze.py --help`."""

import sys

from xlite.commands import analyze, cli

if __name__ == "__main__":
    sys.exit(cli.run(analyze.run, analyze.parser()))
