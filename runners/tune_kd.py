"""Search, rank and promote a distilled student: `python runners/tune_kd.py [--data DIR]`."""

import sys

from xlite import cli
from xlite.commands import tune_kd

if __name__ == "__main__":
    sys.exit(cli.run(tune_kd.run, tune_kd.parser()))
