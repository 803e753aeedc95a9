"""Errors that commands report in one line, and their exit codes."""

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_PASSED_OVER = 3
"""Done, but some files could not be read; they were listed and passed over."""
EXIT_INTERRUPTED = 130


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class InputError(ValueError):
    """A mistake that the user can fix: in a file, a row, a key, an option.

    The message is one line that names the thing and what to do about it. Commands print it as `error: ...` and exit 2.
    """


class TrainingFailed(RuntimeError):
    """A configuration cannot be trained, e.g. its loss is no longer finite; the message is the reason.

    Commands print it and exit 1.
    """


class SpaceError(InputError):
    """A search space's own code failed, or proposed nothing that can be trained."""
