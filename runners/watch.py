"""A study in TensorBoard and in Optuna's dashboard: the same as `xlite watch`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["watch", *sys.argv[1:]])
