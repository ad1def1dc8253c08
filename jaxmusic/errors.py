"""Errors that the user can fix, and the messages of other errors."""

import errno

SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class UserError(Exception):
    """Bad input or a wrong setting: the message is one sentence for the user.

    It names the file or flag, the value and what to do. Scripts print it without a traceback.
    """

    exit_code = 1  # of a script that ends with it


def reason_of(error: Exception) -> str:
    """The message of an error; of an OSError the system's text, without number and file name."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error comes from a lack of memory, threads or open files.

    Such an error doesn't mean that the file being read is damaged.
    """
    while error is not None:
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return True
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            return True
        error = error.__cause__ or error.__context__
    return False
