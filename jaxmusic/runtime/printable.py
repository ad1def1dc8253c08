"""Text without control characters, which any terminal shows literally."""

import os
import shlex


def printable(name: str | os.PathLike[str]) -> str:
    r"""A name on one line, with unprintable characters escaped.

    They are escaped as in Python: \n for a line feed, \x1b for an escape, \udcff for the byte 255
    in a name that isn't UTF-8.
    """
    text = os.fspath(name)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_lines(text: str) -> str:
    """Text of several lines, with unprintable characters but line feeds escaped."""
    return "\n".join(map(printable, text.split("\n")))


def as_argument(path: str | os.PathLike[str]) -> str:
    """A path as a word of a command for bash or zsh."""
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"  # not a flag
    if text.isprintable():
        return shlex.quote(text)
    plain = set(range(ord(" "), 0x7F)) - {ord("'"), ord("\\")}
    return (
        "$'"
        + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(text))
        + "'"
    )
