"""The one kind of error that is the user's to mend, and the words of others."""


class UserError(Exception):
    """Bad input or a wrong setting: the message is one sentence for the user.

    It names the file or flag, the value and what to do. Scripts print it without a traceback.
    """

    exit_code = 1  # of a script that ends with it


def reason_of(error: Exception) -> str:
    """What an error says; of one of the system's its words alone, without number and file."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
