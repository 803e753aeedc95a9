"""Compare students on the same patients: the same as `xlite compare`."""

import sys

from xlite.commands.main import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
