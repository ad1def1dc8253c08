"""Names of files as they are told to a person."""

import os


def shown(name: str | os.PathLike[str]) -> str:
    r"""A name on one line that any terminal takes.

    What can't be printed stands there as Python writes it: \n for a line feed, \x1b for an escape,
    \udcff for the byte 255 in a name that isn't UTF-8.
    """
    text = os.fspath(name)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
