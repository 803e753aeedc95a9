"""The one error a person is meant to read."""


class InputError(ValueError):
    """Something a person can mend: a file, a row, a key, an option.

    The message is one line that names the thing and what to do about it. Runners print it as `error: ...` and exit 2.
    """
