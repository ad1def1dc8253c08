"""Text that a terminal shows as it stands: names of files, and all that the program prints."""

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


def printable(text: str) -> str:
    """Text of several lines, each of which any terminal takes."""
    return "\n".join(map(shown, text.split("\n")))
