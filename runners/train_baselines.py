"""Train the logs' baselines, without distillation: `python runners/train_baselines.py --study NAME [--data DIR]`."""

import sys

from xlite.commands import cli, train_baselines

if __name__ == "__main__":
    sys.exit(cli.run(train_baselines.run, train_baselines.parser()))
