"""Names of files as they are printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmusic.runtime.printable import as_argument, printable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name (1).mid", "plain name (1).mid"),
        ("Für Elise, 月.mid", "Für Elise, 月.mid"),
        ("two\nlines\tand\x1b[31m.mid", r"two\nlines\tand\x1b[31m.mid"),
        ("caf\udce9.mid", r"caf\udce9.mid"),  # the byte E9, which is no UTF-8
        ("right\u202eto left", r"right\u202eto left"),
    ],
)
def test_a_name_is_reported_on_one_line(name: str, expected: str) -> None:
    assert printable(name) == expected == printable(Path(name))
    expected.encode()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no bash")
@pytest.mark.parametrize(
    "name",
    ["runs/a", "my run", "it's", "-a b", "$HOME", "`id`", "a\nb", "\x1b[1mc'\\", "é", "\udcffa"],
)
def test_a_path_in_a_command_is_one_word_for_the_shell(name: str) -> None:
    word = as_argument(name)
    assert word.isprintable()
    said = subprocess.run(
        ["bash", "-c", os.fsencode(f"printf %s {word}")], capture_output=True, check=True
    ).stdout
    assert os.path.normpath(os.fsdecode(said)) == name
    assert not word.startswith("-")
