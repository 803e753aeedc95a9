"""Train one configuration without a search: `python runners/train_one.py --help`."""

import sys

from xlite.commands import cli, train_one

if __name__ == "__main__":
    sys.exit(cli.run(train_one.run, train_one.parser()))
