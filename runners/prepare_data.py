"""Read, cache and split a data set: `python runners/prepare_data.py --help`."""

import sys

from xlite.commands import cli, prepare_data

if __name__ == "__main__":
    sys.exit(cli.run(prepare_data.run, prepare_data.parser()))
