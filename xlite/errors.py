"""The one error a person reads, and the exit codes of a command."""

EXIT_INPUT = 2
EXIT_INTERRUPTED = 130


class InputError(ValueError):
    """Something the user can fix: a file, a row, a key, an option.

    The message is one line that names the thing and what to do about it. Commands print it as `error: ...` and exit 2.
    """
