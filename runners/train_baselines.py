"""Train the logs' baselines, without distillation: the same as `xlite baselines`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["baselines", *sys.argv[1:]])
