"""The piano-roll scheme: rows of keys as tokens and back."""

from itertools import pairwise
from pathlib import Path

import pytest
from helpers.midi_bytes import midi, off, on, track
from hypothesis import given
from hypothesis import strategies as st

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.midi.writer import TICKS_PER_QUARTER, write_notes
from jaxmusic.tokenizers.piano_roll import PianoRollTokenizer, tokens_of_rows

TOKENIZER = PianoRollTokenizer()
rows = st.lists(st.sets(st.integers(21, 108), max_size=5), max_size=12)


def test_rows_are_tokens_from_high_to_low() -> None:
    assert tokens_of_rows([{60, 67, 64}, set(), {21, 108}]) == [
        "step", "p67", "p64", "p60", "step", "step", "p108", "p21", "step",
    ]  # fmt: skip


@given(rows)
def test_each_row_is_one_sequence_of_allowed_tokens(rows: list[set[int]]) -> None:
    tokens = tokens_of_rows(rows)
    assert all(TOKENIZER.may_follow(*pair) for pair in pairwise(tokens))
    assert set(tokens) <= set(TOKENIZER.fixed_vocabulary())


def test_after_a_key_come_lower_keys_or_the_end_of_the_row() -> None:
    assert TOKENIZER.may_follow("p60", "p59") and TOKENIZER.may_follow("p60", "step")
    assert not TOKENIZER.may_follow("p60", "p60") and not TOKENIZER.may_follow("p60", "p61")
    assert TOKENIZER.may_follow("step", "p108") and TOKENIZER.may_follow("step", "step")


@given(rows)
def test_what_is_decoded_and_written_is_read_as_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[set[int]]
) -> None:
    while rows and not rows[-1]:  # silence at the end has no notes
        rows.pop()
    if not rows:
        return
    path = tmp_path_factory.mktemp("rolls") / "a.mid"
    write_notes(path, TOKENIZER.decode(tokens_of_rows(rows), step=0.5))
    assert TOKENIZER.encode(read_midi(path)) == tokens_of_rows(rows)


def test_a_key_in_consecutive_rows_is_one_note() -> None:
    (notes,) = TOKENIZER.decode(tokens_of_rows([{60}, {60, 64}, {64}, {60}]), step=1)
    quarter = TICKS_PER_QUARTER
    assert [(note.start, note.end, note.pitch) for note in notes] == [
        (0, 2 * quarter, 60), (quarter, 3 * quarter, 64), (3 * quarter, 4 * quarter, 60),
    ]  # fmt: skip


def test_notes_are_moved_to_the_nearest_eighth_and_last_one_at_least(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(midi(track(on(50, 60), off(10, 60), on(180, 127), off(1, 127))))
    assert TOKENIZER.encode(read_midi(path)) == ["step", "p60", "step"]


def test_files_without_keys_or_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(midi(track(on(0, 20), off(9, 20))))
    with pytest.raises(MidiError, match="no notes of a piano's keys"):
        TOKENIZER.encode(read_midi(path))
    path.write_bytes(midi(track(on(0, 60), off(2**27, 60))))
    with pytest.raises(MidiError, match="longer than 65,536 eighth notes"):
        TOKENIZER.encode(read_midi(path))


def test_transposing_leaves_only_at_the_ends_of_the_keyboard() -> None:
    assert TOKENIZER.transpose("step", 5) == "step"
    assert TOKENIZER.transpose("p60", -12) == "p48"
    assert TOKENIZER.transpose("p108", 1) is None and TOKENIZER.transpose("p21", -1) is None


@pytest.mark.parametrize("token", ["", "p", "60", "p020", "p20", "p109", "p\u0666\u0660", "Step"])
def test_other_tokens_are_refused_by_name(token: str) -> None:
    with pytest.raises(ValueError, match="is neither 'step' nor a key"):
        TOKENIZER.check(token)
    with pytest.raises(ValueError, match="is neither"):
        TOKENIZER.decode(["step", token], step=0.5)


def test_kinds() -> None:
    assert (TOKENIZER.kind("step"), TOKENIZER.kind("p60")) == ("step", "key")
    assert len(set(TOKENIZER.fixed_vocabulary())) == 89
