"""Files that may be damaged: what NumPy saves is read as it is, all else is refused."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from jaxmusic.storage.reading import (
    Count,
    file_digest,
    map_array,
    open_to_read,
    parse_json,
    read_bytes,
    read_json,
    read_lines,
    with_digest,
)


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
        (np.zeros(2, [("a", int)]), "not an array that NumPy saved"),
        (np.zeros(0, np.int64), "it is empty"),
        (np.zeros((0, 2**40), np.int64), "it is empty"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any, reason: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=reason.replace("|", r"\|")):
        map_array(tmp_path / "a.npy")


class Item(msgspec.Struct, frozen=True):
    name: str
    count: Count = 0
    share: float | None = None
    items: list["Item"] = []


def test_json_is_read_by_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"name": "\u00e9", "items": [{"name": "b", "share": 1}], "later": {}}', "utf-8"
    )
    assert read_json(path, Item) == Item("\u00e9", items=[Item("b", share=1.0)])
    # As Python writes a name that is no UTF-8, which msgspec alone would refuse.
    path.write_text(json.dumps({"name": "caf\udce9", "share": 0.5}))
    assert read_json(path, Item) == Item("caf\udce9", share=0.5)


BIG = "1" + "0" * 400


@pytest.mark.parametrize("name", ["plain", "caf\\udce9"])  # which go different ways
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ('"count": "1"', "the field 'count': expected `int`, got `str`"),
        ('"count": true', "the field 'count': expected `int`, got `bool`"),
        ('"count": 1.0', "the field 'count': expected `int`, got `float`"),
        ('"count": -1', "the field 'count': expected `int` >= 0"),
        (f'"count": {BIG}', "the field 'count': expected `int` <= 9223372036854775807"),
        (f'"share": {BIG}', "the field 'share': number out of range"),
        ('"share": 1e400', "out of range"),
        ('"share": NaN', "it holds NaN, which is not a number"),
        ('"share": -Infinity', "it holds -Infinity, which is not a number"),
        ('"later": Infinity', "it holds Infinity, which is not a number"),
        ('"items": [{}]', "it lacks the field 'name' of items[0]"),
        ('"items": {}', "the field 'items': expected `array`, got `object`"),
    ],
)
def test_values_of_other_types_and_ranges_are_named(name: str, fields: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(f'{{"name": "{name}", {fields}}}', Item)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON: "),
        (b"{", "it is not JSON: "),
        (b"\xff\xfe", "it is not JSON: "),
        (b'{"name": "a"} b', "it is not JSON: "),
        (b'{"a": ' + b"[" * 10**6, "nested too deep"),
        (b'{"count": ' + b"9" * 10_000, "'count': integer value out of range"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "it lacks the field 'name'"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_json(path, Item)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices lie in folders on Unix")
@pytest.mark.parametrize(
    "read",
    [
        open_to_read, map_array, file_digest, partial(read_bytes, most=9),
        partial(read_json, kind=Item), lambda path: list(read_lines(path)),
    ],
)  # fmt: skip
def test_regular_files_alone_are_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """And none is waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, error in {
        "pipe": "it is a pipe, where a file is expected",
        "zero": "it is a device, where a file is expected",
        ".": "Is a directory",
        "loop": "Too many levels of symbolic links",
        "none": "No such file",
    }.items():
        with pytest.raises((OSError, ValueError), match=error):
            read(tmp_path / name)


def test_no_more_is_read_than_such_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345\n789")
    assert read_bytes(path, most=9) == b"12345\n789"
    assert list(read_lines(path, most=6)) == [b"12345\n", b"789"]
    with pytest.raises(ValueError, match="it has 9 bytes, more than the limit of 8"):
        read_bytes(path, most=8)
    with pytest.raises(ValueError, match="a line of more than 5 bytes"):
        list(read_lines(path, most=5))
    np.save(tmp_path / "b.npy", np.arange(9))
    assert len(map_array(tmp_path / "b.npy", most=200)) == 9
    with pytest.raises(ValueError, match="it has 200 bytes, more than the limit of 199"):
        map_array(tmp_path / "b.npy", most=199)
    os.truncate(path, 1 << 40)  # which takes no space
    with pytest.raises(ValueError, match="more than the limit of 1,048,576"):
        read_json(path, Item)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "a"}')
    (tmp_path / "link").symlink_to("a.json")
    assert read_json(tmp_path / "link", Item) == Item("a")


def test_an_edit_is_seen_by_the_digest() -> None:
    document = with_digest({"a": 1, "b": [0.1, "\u00e9"]})
    assert json.loads(json.dumps(document)) == document == with_digest(document)
    for edited in ({"a": 2}, {"c": 0}, {"digest": "0"}):
        assert (document | edited) != with_digest(document | edited)
