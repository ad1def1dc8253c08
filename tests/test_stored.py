"""Files that may be damaged: what NumPy saves is read as it is, all else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxmusic.stored import map_array, read_json


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.uint16),
        np.arange(3, dtype=np.int64),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.arange(6, dtype=np.uint32).reshape(3, 2).T,  # saved column by column
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.ones((1, 1), np.dtype(">u2")),
    ],
)
def test_what_numpy_saves_is_mapped(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == array.dtype
    np.testing.assert_array_equal(mapped, array)
    assert not mapped.flags.writeable


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(3), "NumPy calls <f8, not whole numbers"),
        (np.array(["a"]), "NumPy calls <U1"),
        (np.zeros(2, bool), "NumPy calls |b1"),
        (np.zeros(2, [("a", int)]), "no array that NumPy saved"),
        (np.zeros(0, np.int64), "it is empty"),
        (np.zeros((0, 2**40), np.int64), "it is empty"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any, reason: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=reason.replace("|", r"\|")):
        map_array(tmp_path / "a.npy")


def test_json_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "\u00e9"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, "\u00e9"]}
    for content in (b"", b"{", b"\xff\xfe", b"[" * 10**6, b"9" * 10_000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="it is no JSON: "):
            read_json(path)
