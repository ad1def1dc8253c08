"""Only a pickled list of strings is read, and no code is run."""

import datetime
import io
import os
import pickle
import pickletools
import random
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from jaxmusic.preparation.sources.pickled_strings import read_pickled_strings

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
TEXTS = ["E5", "4.9", "B-4", "0", "C#6"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "texts",
    [[], ["E5"], TEXTS, TEXTS * 3000, [str(number) for number in range(2500)], ["é\n\\u0041\0"]],
)
def test_a_list_of_texts_is_read_as_it_was_written(protocol: int, texts: list[str]) -> None:
    assert read_pickled_strings(pickle.dumps(texts, protocol)) == texts
    fresh = ["".join(text) for text in texts]  # none is the same object as another
    assert read_pickled_strings(pickle.dumps(fresh, protocol)) == texts
    python = io.BytesIO()
    pickle._Pickler(python, protocol).dump(texts)  # not the one in C
    assert read_pickled_strings(python.getvalue()) == texts
    assert read_pickled_strings(pickletools.optimize(python.getvalue())) == texts


@pytest.mark.parametrize(
    "data",
    [
        b"(lp0\nS'E5'\np1\naS'4.9'\np2\nag1\na.",
        b"]q\x00(U\x02E5q\x01U\x034.9q\x02h\x01e.",
        b"\x80\x02]q\x00(U\x02E5q\x01U\x034.9q\x02h\x01e.",
        b'(T\x02\0\0\0E5S"4.9"\nVE5\nl.',  # by hand: the list at once
    ],
)
def test_files_of_python_2_are_read(data: bytes) -> None:
    assert pickle.loads(data) == ["E5", "4.9", "E5"]
    assert read_pickled_strings(data) == ["E5", "4.9", "E5"]


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    touched = tmp_path / "touched"
    for content in ([*TEXTS, Hostile(touched)], Hostile(touched), [[Hostile(touched)]]):
        data = pickle.dumps(content, protocol)
        with pytest.raises(ValueError, match="the opcode (GLOBAL|STACK_GLOBAL), and could run"):
            read_pickled_strings(data)
        assert not touched.exists()
        pickle.loads(data)  # it is as hostile as it looks
        assert touched.exists()
        touched.unlink()


BAD_PROGRAMS = {
    "GLOBAL": b"cos\nsystem\n(S'true'\ntR.",
    "STACK_GLOBAL": b"\x80\x04]\x94(\x8c\x02os\x8c\x06system\x93e.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(V1\nV2\no.",
    "NEWOBJ": b"]V1\nV2\n\x81a.",
    "NEWOBJ_EX": b"]V1\nV2\nV3\n\x92a.",
    "REDUCE": b"]V1\nV2\nRa.",
    "BUILD": b"]V1\nb.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\0.",
    "EXT4": b"\x84\x01\0\0\0.",
    "PERSID": b"Pwhatever\n.",
    "BINPERSID": b"V1\nQ.",
    "DICT": b"(d.",
    "EMPTY_DICT": b"}.",
    "EMPTY_TUPLE": b").",
    "EMPTY_SET": b"\x8f.",
    "TUPLE1": b"](V1\n\x85e.",
    "NONE": b"]Na.",
    "NEWTRUE": b"]\x88a.",
    "INT": b"]I5\na.",
    "BININT1": b"]K\x05a.",
    "LONG": b"]L5L\na.",
    "LONG4": b"]\x8b\x01\0\0\0\x05a.",
    "FLOAT": b"]F5\na.",
    "BINFLOAT": b"]G" + struct.pack(">d", 1.0) + b"a.",
    "BINBYTES": b"]B\x01\0\0\0xa.",
    "BYTEARRAY8": b"]\x96" + struct.pack("<Q", 1) + b"xa.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"]\x98.",
    "DUP": b"]2.",
    "POP": b"]0.",
    "POP_MARK": b"(1.",
    "SETITEM": b"]V1\nV2\ns.",
    "ADDITEMS": b"](V1\n\x90.",
    "PROTO": b"\x80\x06].",
}


@pytest.mark.parametrize("name", BAD_PROGRAMS)
def test_any_other_opcode_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"it holds the opcode {name}, and could run code"):
        read_pickled_strings(BAD_PROGRAMS[name])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "exhausted"),
        (b"]", "exhausted"),
        (b".", "not a list of strings"),
        (b"VE5\n.", "not a list of strings"),
        (b"]].", "not a list of strings"),
        (b"](.", "not a list of strings"),
        (b"].].", "goes on after its end"),
        (b"].\n", "goes on after its end"),
        (b"]]a.", "a list in a list"),
        (b"]q\0h\0a.", "a list in a list"),  # in itself
        (b"](]e.", "a list in a list"),
        (b"(]l.", "a list in a list"),
        (b"VE5\nVE5\na.", "not a list"),
        (b"VE5\n(VE5\ne.", "not a list"),
        (b"](a.", "empty stack"),
        (b"a.", "empty stack"),
        (b"q\0.", "empty stack"),
        (b"](q\0e.", "empty stack"),
        (b"\x94.", "empty stack"),
        (b"e.", "lacks a mark"),
        (b"l.", "lacks a mark"),
        (b"]h\x07a.", "memo 7, which it has not set"),
        (b"]j\xff\xff\xff\xff.", "memo 4294967295"),
        (b"]g-1\n.", "memo -1"),
        (b"]X\xff\xff\xff\xffE5", "bytes"),  # longer than the file
        (b"]\x8d" + b"\xff" * 8 + b"E5", "byte"),
        (b"]\x8d" + struct.pack("<Q", 2**62) + b"E5", "byte"),
        (b"]\x8c\x02\xff\xffa.", "codec"),
        (b"]p" + b"9" * 10_000 + b"\n.", "digits"),
        (b"]S'E5\na.", "quote"),
        (b"\xff", "unknown"),
        (b"hello", "has not set"),
        (b"RIFF\0\0\0\0", "the opcode REDUCE"),
    ],
)
def test_what_makes_no_list_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_pickled_strings(data)


def test_large_numbers_take_no_memory() -> None:
    assert read_pickled_strings(
        b"]r\xff\xff\xff\x7f(VE5\nr\xff\xff\xff\xffj\xff\xff\xff\xffe."
    ) == [
        "E5",
        "E5",
    ]
    deep = b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
    marks = b"(" * 10**5 + b"l" * 10**5 + b"."
    for data in (deep, marks):
        with pytest.raises(ValueError, match="a list in a list"):
            read_pickled_strings(data)


def test_random_bytes_give_nothing_but_the_clear_error() -> None:
    rng = random.Random(3)
    objects: list[Any] = [
        TEXTS * 4, {"a": [1, 2.5, None]}, [b"x", bytearray(b"y"), 2**70, {1, 2}], (TEXTS, True),
        OrderedDict(a=datetime.date(2020, 1, 1)), [[], "a", [TEXTS]],
    ]  # fmt: skip
    for number in range(3000):
        data = bytearray(pickle.dumps(objects[number % len(objects)], number % 6))
        for _ in range(rng.choice((0, 1, 3))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.1:
            data = bytearray(rng.randbytes(40))
        try:
            found = read_pickled_strings(bytes(data))
        except ValueError:
            continue
        assert all(type(text) is str for text in found)
