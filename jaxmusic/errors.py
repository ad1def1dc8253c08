"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Bad input or a wrong setting: the message is one sentence for the user.

    It names the file or flag, the value and what to do. Scripts print it without a traceback.
    """

    exit_code = 1  # of a script that ends with it
