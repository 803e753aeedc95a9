"""`python -m xlite`: the same as the command `xlite`."""

from xlite.commands.main import main

if __name__ == "__main__":
    main()
