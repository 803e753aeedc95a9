"""How often each sampler shows each label: `python runners/check_balance.py --help`."""

import sys

from xlite.commands import check_balance, cli

if __name__ == "__main__":
    sys.exit(cli.run(check_balance.run, check_balance.parser()))
