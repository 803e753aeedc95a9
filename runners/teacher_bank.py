"""Build, find or check a study's teacher bank: `python runners/teacher_bank.py --help`."""

import sys

from xlite.commands import cli, teacher_bank

if __name__ == "__main__":
    sys.exit(cli.run(teacher_bank.run, teacher_bank.parser()))
