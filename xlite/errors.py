"""The error for users' mistakes, and the exit codes of commands."""

EXIT_INPUT = 2
EXIT_PASSED_OVER = 3
"""Done, but some files could not be read; they were listed and passed over."""
EXIT_INTERRUPTED = 130


class InputError(ValueError):
    """A mistake that the user can fix: in a file, a row, a key, an option.

    The message is one line that names the thing and what to do about it. Commands print it as `error: ...` and exit 2.
    """


class SpaceError(InputError):
    """A search space's own code failed, or proposed nothing that can be trained."""
