"""Names of files as they are told."""

from pathlib import Path

import pytest

from jaxmusic.names import shown


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("plain name (1).mid", "plain name (1).mid"),
        ("Für Elise, 月.mid", "Für Elise, 月.mid"),
        ("two\nlines\tand\x1b[31m.mid", r"two\nlines\tand\x1b[31m.mid"),
        ("caf\udce9.mid", r"caf\udce9.mid"),  # the byte E9, which is no UTF-8
        ("right\u202eto left", r"right\u202eto left"),
    ],
)
def test_a_name_is_told_on_one_line(name: str, told: str) -> None:
    assert shown(name) == told == shown(Path(name))
    told.encode()
