"""The one kind of error that is the user's to mend, and the words of others."""

import errno

SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class UserError(Exception):
    """Bad input or a wrong setting: the message is one sentence for the user.

    It names the file or flag, the value and what to do. Scripts print it without a traceback.
    """

    exit_code = 1  # of a script that ends with it


def reason_of(error: Exception) -> str:
    """What an error says; of one of the system's its words alone, without number and file."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def is_shortage(error: BaseException | None) -> bool:
    """Whether the system lacked memory, threads or open files for what an error comes from.

    That says nothing about what was to be read: it may be whole.
    """
    while error is not None:
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return True
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            return True
        error = error.__cause__ or error.__context__
    return False
