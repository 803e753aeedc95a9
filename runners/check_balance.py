"""How often each sampler shows each label: the same as `xlite balance`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["balance", *sys.argv[1:]])
