"""The scheme `timed`: its grammar, and that any tokens are music."""

import itertools
from pathlib import Path

import mido
import numpy as np
import pytest
from helpers.midi_bytes import midi, number, off, on, played, track
from helpers.random_midi import dense_file, files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmusic.midi.reader import parse_midi, read_midi
from jaxmusic.midi.types import MidiError, MidiScore, Note, Track
from jaxmusic.midi.writer import TICKS_PER_QUARTER
from jaxmusic.tokenizers.timed.grid_notes import LENGTHS, grid_notes
from jaxmusic.tokenizers.tokenizer import get_tokenizer, parse_tokens, read_tokens, write_midi
from jaxmusic.tokenizers.vocabulary import Vocabulary

SCHEMES = {"timed": 12, "timed-48": 48, "timed-loud": 12, "timed-48-loud": 48}
each_scheme = pytest.mark.parametrize("scheme", SCHEMES)
few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def token_lists(scheme: str) -> st.SearchStrategy[list[str]]:
    """Any tokens in any order, and such that have many notes."""
    vocabulary = get_tokenizer(scheme).fixed_vocabulary()
    assert vocabulary is not None
    dense = [t for t in vocabulary if t in ("wait:3", "wait:6", "len:6", "len:12", "loud:2")]
    dense += [f"note:{pitch}" for pitch in (60, 61, 62, 127)]
    return st.one_of(
        st.lists(st.sampled_from(vocabulary), max_size=40),
        st.lists(st.sampled_from(dense), min_size=10, max_size=60),
    )


def decoded(scheme: str, tokens: list[str]) -> list[Note]:
    (notes,) = get_tokenizer(scheme).decode(tokens, step=0.5)
    return notes


def of(*tracks: bytes, scheme: str = "timed") -> list[str]:
    """Tokens of tracks of 48 ticks a quarter: four ticks a step on the grid of 12."""
    return parse_tokens(midi(*map(track, tracks), division=48), scheme)


# From files.


def test_a_song_is_waits_notes_and_lengths_between_ends() -> None:
    chord = played((48, 96, 60), (48, 72, 64))
    late = played((96 + 4 * 50, 96 + 4 * 50 + 4, 127))
    assert " ".join(of(chord, late)) == (
        "end wait:12 note:64 len:6 note:60 len:12 wait:60 wait:2 note:127 len:1 end"
    )


def test_loudness_is_told_when_it_changes() -> None:
    body = b"".join(
        on(0, 60 + index, velocity) + off(4, 60 + index)
        for index, velocity in enumerate((80, 87, 88, 127, 1, 7, 9))
    )
    tokens = of(body, scheme="timed-loud")
    assert [token for token in tokens if token[:4] in ("loud", "note")] == [
        "loud:5", "note:60", "note:61", "loud:6", "note:62", "loud:8", "note:63", "loud:1",
        "note:64", "note:65", "note:66",
    ]  # fmt: skip
    assert tokens[tokens.index("loud:6") - 1] == "wait:1"
    assert [token for token in tokens if token[:4] != "loud"] == of(body)
    assert [note.velocity for note in decoded("timed-loud", tokens)] == [
        80, 80, 96, 127, 16, 16, 16,
    ]  # fmt: skip


def test_a_finer_grid_has_more_steps_and_the_pedal() -> None:
    body = played((0, 24, 60), (25, 49, 62)) + number(47) + bytes((0xB0, 64, 0))
    pedal = number(0) + bytes((0xB0, 64, 127))
    assert of(pedal + body) == ["end", "note:60", "len:6", "wait:6", "note:62", "len:6", "end"]
    assert of(pedal + body, scheme="timed-48") == (
        ["end", "note:60", "len:96", "wait:25", "note:62", "len:72", "end"]
    )


def test_files_without_notes() -> None:
    with pytest.raises(MidiError, match="no notes"):
        of(b"")
    assert of(on(0, 60)) == []
    assert of(on(0, 36, channel=9) + off(9, 36, channel=9)) == []


def test_waits_of_any_length_add_up() -> None:
    tokenizer = get_tokenizer("timed")
    for gap in (*range(1, 2000), 9599, 9600, 9601, 123_456):
        tokens = of(played((4 * gap, 4 * gap + 4, 60)))
        waits = [int(token.removeprefix("wait:")) for token in tokens[1:-3]]
        assert sum(waits) == gap and set(waits) <= set(LENGTHS)
        assert len(waits) <= gap // 960 + 2
        assert all(itertools.starmap(tokenizer.may_follow, itertools.pairwise(tokens)))


@each_scheme
@given(data=files())
@few
def test_written_songs_are_read_back(
    scheme: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Decoding gives exactly the notes on the grid, and encoding these the same tokens."""
    path = tmp_path_factory.getbasetemp() / "written.mid"
    grid = SCHEMES[scheme]
    try:
        tokens = parse_tokens(data, scheme)
    except MidiError:
        return
    if not tokens:
        return
    on_grid, _ = grid_notes(parse_midi(data), grid, pedal=grid == 48)
    ticks = TICKS_PER_QUARTER // grid
    notes = decoded(scheme, tokens)
    assert [(note.start, note.end - note.start, note.pitch) for note in notes] == [
        (onset * ticks, length * ticks, pitch)
        for onset, length, pitch in zip(
            on_grid.onsets, on_grid.lengths, on_grid.pitches, strict=True
        )
    ]
    if "loud" in scheme:
        differences = on_grid.velocities - [note.velocity for note in notes]
        assert abs(differences).max() <= (15 if on_grid.velocities.min() < 8 else 8)
    write_midi(tokens, path, scheme=scheme)
    assert read_tokens(path, scheme) == tokens
    tokenizer = get_tokenizer(scheme)
    assert all(itertools.starmap(tokenizer.may_follow, itertools.pairwise(tokens)))
    assert tokenizer.fixed_vocabulary() is not None
    assert set(tokens) <= set(tokenizer.fixed_vocabulary() or [])
    assert tokenizer.encode(parse_midi(data)) == tokens


# To files.


@each_scheme
@given(data=st.data())
@few
def test_any_tokens_are_music(
    scheme: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """mido reads the notes that were decoded, and encoding them again changes nothing more."""
    path = tmp_path_factory.getbasetemp() / "any.mid"
    tokens = data.draw(token_lists(scheme))
    notes = decoded(scheme, tokens)
    if not notes:
        return
    write_midi(tokens, path, scheme=scheme)
    assert mido_notes(path) == without_overlaps(notes)
    once = read_tokens(path, scheme)
    write_midi(once, path, scheme=scheme)
    assert read_tokens(path, scheme) == once
    step = TICKS_PER_QUARTER // (48 if "48" in scheme else 12)
    for (start, end, pitch, _), then in zip(mido_notes(path), without_overlaps(notes), strict=True):
        assert (start, pitch) == (then[0], then[2])
        # A note that was cut may have a length that no token has: it is then the next shorter one.
        if (then[1] - start) // step in LENGTHS:
            assert end == then[1]
        else:
            assert start < end < then[1]


def without_overlaps(notes: list[Note]) -> list[tuple[int, int, int, int]]:
    """What a keyboard plays: a pitch that begins again ends the note before; in unison, once."""
    longest = {(note.start, note.pitch): note for note in sorted(notes)}.values()
    return sorted(
        (
            note.start,
            min(
                [note.end]
                + [n.start for n in longest if n.pitch == note.pitch and n.start > note.start]
            ),
            note.pitch,
            note.velocity,
        )
        for note in longest
    )


def mido_notes(path: Path) -> list[tuple[int, int, int, int]]:
    found = []
    now = 0
    sounding: dict[int, tuple[int, int]] = {}
    for message in mido.merge_tracks(mido.MidiFile(path).tracks):
        now += message.time
        if message.type == "note_on":
            assert message.note not in sounding
            sounding[message.note] = now, message.velocity
        elif message.type == "note_off":
            start, velocity = sounding.pop(message.note)
            found.append((start, now, message.note, velocity))
    assert not sounding
    return sorted(found)


@pytest.mark.parametrize(
    ("tokens", "notes"),
    [
        # A note lasts as long as the one before it, the first one a quarter, unless told otherwise.
        ("note:60", [(0, 12, 60)]),
        ("note:60 note:64 len:6", [(0, 12, 60), (0, 6, 64)]),
        ("note:60 len:3 note:64", [(0, 3, 60), (0, 3, 64)]),
        (
            "note:60 wait:6 note:64 len:1 wait:6 note:67 end",
            [(0, 12, 60), (6, 7, 64), (12, 13, 67)],
        ),
        # Only the length directly after a note is its own.
        ("note:60 wait:1 len:5 note:62", [(0, 12, 60), (1, 13, 62)]),
        ("len:5 note:60", [(0, 12, 60)]),
        ("note:60 len:5 len:9 note:62", [(0, 5, 60), (0, 5, 62)]),
        # `end` begins a song without notes and ends one with some.
        ("end wait:6 note:60 len:1 end note:64 len:1", [(6, 7, 60)]),
        ("wait:6 end end note:60 len:1", [(0, 1, 60)]),
        ("note:60 end note:62", [(0, 12, 60)]),
        ("", []),
        ("end end", []),
        ("wait:960 wait:960 len:1", []),
    ],
)
def test_tokens_out_of_order(tokens: str, notes: list[tuple[int, int, int]]) -> None:
    ticks = TICKS_PER_QUARTER // 12
    found = decoded("timed", tokens.split())
    assert [(n.start // ticks, n.end // ticks, n.pitch) for n in found] == notes
    assert all(note.velocity == 80 for note in found)


def test_any_slice_is_music() -> None:
    """The notes that are whole in it are those of the song, at a fixed distance in time."""
    ours = decoded("timed", tokens := parse_tokens(dense_file(3), "timed"))
    places = [index for index, token in enumerate(tokens) if token.startswith("note:")]
    rng = np.random.default_rng(0)
    for first, stop in np.sort(rng.integers(0, len(tokens) + 1, (200, 2))).tolist():
        found = decoded("timed", tokens[first:stop])
        whole = [k for k, index in enumerate(places) if first <= index and index + 1 < stop]
        shifts = {ours[k].start - note.start for k, note in zip(whole, found, strict=False)}
        assert len(shifts) <= 1
        shift = max(shifts, default=0)
        assert [ours[k] for k in whole] == [
            note._replace(start=note.start + shift, end=note.end + shift)
            for note in found[: len(whole)]
        ]
        assert len(found) - len(whole) in (0, 1)  # one whose length is cut off


@pytest.mark.parametrize(
    "token", ["note:128", "note:-1", "wait:0", "wait:49", "len", "loud:5", "C4"]
)
def test_a_token_that_the_scheme_lacks_is_named(token: str) -> None:
    tokenizer = get_tokenizer("timed")
    for call in (
        lambda: tokenizer.check(token),
        lambda: tokenizer.transpose(token, 1),
        lambda: decoded("timed", ["note:60", token]),
    ):
        with pytest.raises(ValueError, match=f"'{token}' is not a token of the scheme timed"):
            call()


# Of tokens.


@each_scheme
def test_the_vocabulary_is_fixed(scheme: str) -> None:
    tokenizer = get_tokenizer(scheme)
    tokens = tokenizer.fixed_vocabulary()
    assert tokens is not None
    assert len(tokens) == len(set(tokens)) == (289 if "loud" in scheme else 281)
    assert len(Vocabulary.of(tokens, scheme)) == len(tokens)
    for token in tokens:
        tokenizer.check(token)
    kinds = {"end", "wait", "note", "len"} | ({"loud"} if "loud" in scheme else set())
    assert set(map(tokenizer.kind, tokens)) == kinds
    assert tokenizer.end_token == "end" == Vocabulary.of(tokens, scheme).tokens[0]


def test_what_may_follow_what() -> None:
    may_follow = get_tokenizer("timed-loud").may_follow
    firsts = {"end": "end", "wait": "wait:960", "note": "note:60", "len": "len:1", "loud": "loud:5"}
    assert {
        kind: {next_kind for next_kind, after in firsts.items() if may_follow(before, after)}
        for kind, before in firsts.items()
    } == {
        "end": {"wait", "loud", "note"},
        "wait": {"wait", "loud", "note"},
        "loud": {"note"},
        "note": {"len"},
        "len": {"wait", "loud", "note", "end"},
    }
    assert may_follow("wait:60", "wait:11") and not may_follow("wait:60", "wait:12")
    assert not may_follow("wait:11", "wait:60")


@each_scheme
@given(data=files(), semitones=st.integers(-24, 24))
@few
def test_transposing_tokens_is_transposing_the_file(
    scheme: str, data: bytes, semitones: int
) -> None:
    tokenizer = get_tokenizer(scheme)
    score = parse_midi(data)
    try:
        moved = [tokenizer.transpose(token, semitones) for token in tokenizer.encode(score)]
    except MidiError:
        return
    pitches = {int(p) for each in score.tracks for p in each.pitches}
    if None in moved:
        assert min(pitches) + semitones < 0 or max(pitches) + semitones > 127
    else:
        assert tokenizer.encode(transposed(score, semitones)) == moved


def transposed(score: MidiScore, semitones: int) -> MidiScore:
    def higher(part: Track) -> Track:
        events = part.events
        is_note = events.statuses < 0xA0
        first = np.where(is_note, events.first + semitones, events.first)
        return part._replace(events=events._replace(first=first))

    return score._replace(tracks=[higher(part) for part in score.tracks])


def test_a_written_file_says_all_without_jaxmusic(tmp_path: Path) -> None:
    """symusic reads the same notes, if it is installed."""
    symusic = pytest.importorskip("symusic")
    path = tmp_path / "out.mid"
    for seed in range(10):
        tokens = parse_tokens(dense_file(seed), "timed-loud")
        write_midi(tokens, path, scheme="timed-loud", tempo=97)
        score = symusic.Score(path)
        assert score.ticks_per_quarter == read_midi(path).ticks_per_quarter
        assert sorted(
            (note.start, note.end, note.pitch, note.velocity)
            for part in score.tracks
            for note in part.notes
        ) == sorted(decoded("timed-loud", tokens))
