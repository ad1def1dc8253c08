"""Tokens from files, to files and to numbers; the songs that the stream was published for."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.midi_bytes import meta, midi, number, off, on, program, track
from helpers.random_midi import dense_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.pitch_names import chord_name, pitch_name
from jaxmusic.tokenizers.tokens import SCHEMES, Vocabulary, read_tokens, write_midi

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


def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    for call in (
        lambda: read_tokens(tmp_path / "none.mid", scheme="clasic"),
        lambda: write_midi(["C4"], tmp_path / "none.mid", scheme="clasic"),
        lambda: Vocabulary(("C4",), "clasic"),
    ):
        with pytest.raises(ValueError, match=r"'clasic'.*classic"):
            call()
    assert SCHEMES == ("classic",)


def test_errors_are_of_two_kinds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_tokens(tmp_path / "none.mid")
    (tmp_path / "text.mid").write_text("no music")
    with pytest.raises(MidiError, match="not a MIDI file"):
        read_tokens(tmp_path / "text.mid")


def test_reading_imports_nothing_heavy() -> None:
    heavy = "jax", "flax", "optax", "orbax", "tyro", "rich"
    found = f"[name for name in {heavy} if name in sys.modules]"
    code = f"import sys, jaxmusic.tokenizers.tokens\nprint({found})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"[]"


COUNT = 100_000


@pytest.mark.parametrize(
    "body",
    [
        # Notes that begin together and end one by one; there are but 2,048 keys at a time.
        b"".join(
            b"".join(on(0, key % 128, 64, key // 128) for key in range(2048))
            + b"".join(off(40, key % 128, key // 128) for key in range(2048))
            for _ in range(COUNT // 2048)
        ),
        # The same while all of them begin within a sixteenth of a quarter, at 32,767 ticks.
        b"".join(on(1, key % 128, 64, key // 128) for key in range(2040))
        + b"".join(on(0, 127, 64, 15) + off(0, 127, 15) for _ in range(COUNT))
        + b"".join(off(3000, key % 128, key // 128) for key in range(2040)),
        # Short notes under one that lasts, and the same without any.
        on(0, 0)
        + b"".join(on(0, 60) + on(0, 64) + off(200, 60) + off(300, 64) for _ in range(COUNT // 2))
        + off(0, 0),
        (on(0, 60) + off(0, 60)) * COUNT,
        # Programs and notes all at one time.
        program(0, 0) * 4 * COUNT
        + b"".join(on(0, key % 128, 64, key // 128) for key in range(2048))
        + b"".join(off(40, key % 128, key // 128) for key in range(2048)),
        meta(5, 0x51, b"\1\2\3") * COUNT + on(0, 60) + off(5, 60),
    ],
    ids=["together", "heads", "under a long one", "at once", "programs", "tempos"],
)
@pytest.mark.parametrize("division", [480, 32767])
def test_time_grows_with_the_size_of_the_file(body: bytes, division: int, tmp_path: Path) -> None:
    path = tmp_path / "large.mid"
    path.write_bytes(midi(track(body), division=division))
    began = time.process_time()
    read_tokens(path)
    assert time.process_time() - began < 10  # some 0.5 s; what is quadratic takes many minutes


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
        for place in rng.integers(0, len(data), 5):
            data[place] = rng.integers(256)
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
    assert {mark.value for part in score.tracks for mark in part.meta_events} == {0, 7}
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


# To numbers.


def test_ids_are_places_in_the_sorted_tokens() -> None:
    vocabulary = Vocabulary.of(["E4", "0.4.7", "C4", "E4", "B-3"])
    assert vocabulary.tokens == ("0.4.7", "B-3", "C4", "E4")
    ids = vocabulary.encode(["E4", "0.4.7", "E4"])
    assert ids.tolist() == [3, 0, 3]
    assert vocabulary.decode(ids) == ["E4", "0.4.7", "E4"]
    assert vocabulary.decode([1, np.uint16(2)]) == ["B-3", "C4"]
    assert (len(vocabulary), "C4" in vocabulary, "D4" in vocabulary) == (4, True, False)


def test_ids_are_of_two_bytes_while_they_fit() -> None:
    for count, dtype in ((0, np.uint16), (65_535, np.uint16), (65_536, np.uint32)):
        vocabulary = Vocabulary.of(map(str, range(count)))
        assert vocabulary.dtype == dtype
        ids = vocabulary.encode(vocabulary.tokens)
        assert ids.dtype == dtype
        assert ids.tolist() == list(range(count))


def test_unknown_tokens_and_ids_are_refused_by_name() -> None:
    vocabulary = Vocabulary.of(["C4", "D4"])
    with pytest.raises(ValueError, match="'E4' is not in"):
        vocabulary.encode(["C4", "E4"])
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"{wrong} is no token id"):
            vocabulary.decode(np.array([0, wrong]))


def test_a_vocabulary_is_sorted_without_repeats() -> None:
    for tokens in (("D4", "C4"), ("C4", "C4")):
        with pytest.raises(ValueError, match="sorted"):
            Vocabulary(tokens)


def test_a_saved_vocabulary_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    vocabulary = Vocabulary.of(["C4", "0.4.7", "B-3"])
    vocabulary.save(path)
    assert json.loads(path.read_text()) == {
        "format": 1,
        "scheme": "classic",
        "tokens": ["0.4.7", "B-3", "C4"],
    }
    assert Vocabulary.load(path) == vocabulary
    assert [one.name for one in tmp_path.iterdir()] == ["vocabulary.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not a vocabulary"),
        ("\udcff", "is not a vocabulary"),
        ("[]", "expected `object`, got `array`"),
        ('{"scheme": "classic", "tokens": []}', "it lacks the field 'format'"),
        ('{"format": 2, "scheme": "classic", "tokens": []}', "its format is 2, not 1"),
        ('{"format": 1, "tokens": []}', "it lacks the field 'scheme'"),
        ('{"format": 1, "scheme": "classic", "tokens": {"C4": 0}}', "'tokens': expected `array`"),
        ('{"format": 1, "scheme": "classic", "tokens": ["C4", 5]}', "expected `str`, got `int`"),
        ('{"format": 1, "scheme": "classic", "tokens": ["D4", "C4"]}', "sorted"),
        ('{"format": 1, "scheme": "other", "tokens": ["C4"]}', "unknown token scheme 'other'"),
    ],
)
def test_another_file_is_no_vocabulary(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=reason) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)
