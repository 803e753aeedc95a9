"""Retrain, test and package a study's winner: the same as `xlite promote`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["promote", *sys.argv[1:]])
