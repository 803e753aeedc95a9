"""Train a teacher: `python runners/train_teacher.py --help`."""

import sys

from xlite.commands import cli, train_teacher

if __name__ == "__main__":
    sys.exit(cli.run(train_teacher.run, train_teacher.parser()))
