"""Tokens from files and to files, the registry, and the songs of the published token stream."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.executed_lines import executed_lines
from helpers.midi_bytes import meta, midi, number, off, on, program, track
from helpers.random_midi import dense_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers import tokenizer
from jaxmusic.tokenizers.classic import ClassicTokenizer
from jaxmusic.tokenizers.pitch_names import chord_name, pitch_name
from jaxmusic.tokenizers.tokenizer import (
    UnknownSchemeError,
    get_tokenizer,
    parse_tokens,
    read_tokens,
    register,
    write_midi,
)
from jaxmusic.tokenizers.vocabulary import Vocabulary

SEED_SONGS = os.environ.get("JAXMUSIC_SEED_SONGS", "")
with_seed_songs = pytest.mark.skipif(
    not SEED_SONGS, reason="JAXMUSIC_SEED_SONGS does not name a folder of songs"
)
names = st.one_of(
    st.builds(pitch_name, st.integers(0, 127)), st.builds(chord_name, st.integers(1, 4095))
)
many_lists = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# From files.


@with_seed_songs
def test_tokens_of_the_seed_songs() -> None:
    folder = Path(SEED_SONGS)
    reference = json.loads((folder / "reference_tokens.json").read_text())
    assert len(reference) == 92
    for name, tokens in reference.items():
        assert read_tokens(folder / name) == tokens.split(), name


@with_seed_songs
def test_the_published_stream() -> None:
    folder = Path(SEED_SONGS)
    published = json.loads((folder / "published_stream.json").read_text())
    stream = list(
        itertools.chain.from_iterable(
            read_tokens(folder / name) for name in published["files_in_order"]
        )
    )
    assert len(stream) == published["tokens"] == 27_890
    assert len(Vocabulary.of(stream)) == published["distinct"] == 279


# The registry.


def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    for call in (
        lambda: read_tokens(tmp_path / "none.mid", scheme="clasic"),
        lambda: write_midi(["C4"], tmp_path / "none.mid", scheme="clasic"),
        lambda: Vocabulary(("C4",), "clasic"),
    ):
        with pytest.raises(ValueError, match=r"'clasic'.*classic"):
            call()


def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "TOKENIZERS", dict(tokenizer.TOKENIZERS))
    with pytest.raises(ValueError, match="'classic' already"):
        register(ClassicTokenizer())
    other = ClassicTokenizer()
    other.name = "other"
    register(other)
    assert get_tokenizer("other") is other


def test_what_a_tokenizer_does_not_define_has_a_default() -> None:
    class Other(tokenizer.Tokenizer):
        name = "other"

    other = Other()  # type: ignore[abstract]
    assert (other.name, other.end_token, other.fixed_vocabulary()) == ("other", None, None)
    assert other.kind("60:2") == "token"
    assert other.may_follow("60:2", "62:1")


def test_errors_are_of_two_kinds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_tokens(tmp_path / "none.mid")
    (tmp_path / "text.mid").write_text("no music")
    with pytest.raises(MidiError, match="not a MIDI file"):
        read_tokens(tmp_path / "text.mid")


def test_reading_imports_nothing_heavy() -> None:
    heavy = "jax", "flax", "optax", "orbax", "tyro", "rich"
    found = f"[name for name in {heavy} if name in sys.modules]"
    code = f"import sys, jaxmusic.tokenizers.tokenizer\nprint({found})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"


def programs(count: int) -> bytes:
    return (
        program(0, 0) * 4 * count
        + b"".join(on(0, key % 128, 64, key // 128) for key in range(256))
        + b"".join(off(40, key % 128, key // 128) for key in range(256))
    )


# Events of which a slow algorithm compares each with many others, in a number that grows with the
# count. (There are 2,048 keys: so many notes can sound at one time.)
HARD: dict[str, Callable[[int], bytes]] = {
    "notes that begin together and end one by one": lambda count: b"".join(
        b"".join(on(0, key % 128, 64, key // 128) for key in range(256))
        + b"".join(off(40, key % 128, key // 128) for key in range(256))
        for _ in range(count // 256)
    ),
    "heads within a sixteenth": lambda count: (
        b"".join(on(0, key % 128, 64, key // 128) for key in range(256))
        + b"".join(on(0, 127, 64, 15) + off(0, 127, 15) for _ in range(count))
        + b"".join(off(3000, key % 128, key // 128) for key in range(256))
    ),
    "short notes under a long one": lambda count: (
        on(0, 0) + (on(0, 60) + on(0, 64) + off(200, 60) + off(300, 64)) * (count // 2) + off(0, 0)
    ),
    "notes of length 0": lambda count: (on(0, 60) + off(0, 60)) * count,
    "programs at one time": programs,
    "tempos": lambda count: meta(5, 0x51, b"\1\2\3") * count + on(0, 60) + off(5, 60),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("division", [480, 32767])
def test_work_grows_with_the_size_of_the_file(name: str, division: int) -> None:
    """Twice the events execute twice the lines of Python: quadratic code, four times as many."""

    def lines(count: int) -> int:
        data = midi(track(HARD[name](count)), division=division)
        return executed_lines(lambda: parse_tokens(data))

    lines(256)  # fills caches
    assert lines(4096) < 2.5 * lines(2048)


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_large_files_are_read(name: str) -> None:
    """In about a second; array operations whose time is quadratic would take many minutes."""
    assert parse_tokens(midi(track(HARD[name](100_000)))) is not None


@given(data=st.binary(max_size=60), running=st.booleans())
@many_lists
def test_bytes_raise_nothing_but_midi_errors(
    data: bytes, running: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.mid"
    path.write_bytes(midi(track((on(0, 60) + number(5) if running else b"") + data)))
    try:
        tokens = read_tokens(path)
    except MidiError as error:
        assert str(error)
    else:
        assert all(isinstance(token, str) for token in tokens)


def test_damaged_songs_raise_nothing_but_midi_errors(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mid"
    rng = np.random.default_rng(0)
    for seed in range(300):
        data = bytearray(dense_file(seed))
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_tokens(path)
        except MidiError as error:
            assert str(error)


# To files.


@given(
    tokens=st.lists(names, min_size=1, max_size=30),
    step=st.sampled_from((0.5, 0.25, 1, 1 / 3, 3)),
)
@many_lists
def test_written_tokens_are_read_back(
    tokens: list[str], step: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.mid"
    write_midi(tokens, path, step=step)
    assert read_tokens(path) == tokens


def test_a_repeated_pitch_keeps_its_length(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    write_midi(["C4", "C4", "0.4.7", "C4"], path, program=7, tempo=90)
    score = read_midi(path)
    notes = sorted(
        note
        for part in score.tracks
        for note in zip(part.starts, part.ends, part.pitches, strict=True)
    )
    assert notes == [
        (0, 480, 60),
        (240, 720, 60),
        (480, 960, 48),
        (480, 960, 52),
        (480, 960, 55),
        (720, 1200, 60),
    ]
    assert {meta.value for part in score.tracks for meta in part.meta_events} == {0, 7}
    assert read_tokens(path) == ["C4", "C4", "0.4.7", "C4"]


@pytest.mark.parametrize("token", ["H4", "4.0", "12", "", "C-2", "0.4.4"])
def test_a_bad_token_is_refused_by_name(token: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        write_midi(["C4", token], tmp_path / "out.mid")
    assert repr(token) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0.0, -1.0, 0.01, float("nan"), float("inf")])
def test_a_bad_step_is_refused(step: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step must be"):
        write_midi(["C4"], tmp_path / "out.mid", step=step)


def test_no_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        write_midi([], tmp_path / "out.mid")


@pytest.mark.raises_at("jaxmusic/tokenizers/tokenizer.py:get_tokenizer")
def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(UnknownSchemeError, match=r"no token scheme 'toy' \(known: classic, "):
        get_tokenizer("toy")
