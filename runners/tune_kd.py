"""Search, rank and promote a distilled student: `python runners/tune_kd.py [--data DIR]`."""

import sys

from xlite.commands import cli, tune_kd

if __name__ == "__main__":
    sys.exit(cli.run(tune_kd.run, tune_kd.parser()))
