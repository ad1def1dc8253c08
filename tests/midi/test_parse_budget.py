"""The limit on what is parsed of a file."""

import numpy as np
import pytest
from helpers.midi_bytes import chunk, key, meta, meter, midi, off, on, program, tempo, track

from jaxmusic.midi import parse_budget
from jaxmusic.midi.reader import MAX_FILE_SIZE, parse_midi
from jaxmusic.midi.types import MidiError
from jaxmusic.tokenizers.tokenizer import parse_tokens

NOTE = on(0, 60) + off(9, 60)

# Events after a first note, and their cost. The first note costs 5 (a run of 2 events), the
# end-of-track event 3 and the track itself 150.
COSTS = {
    "notes": (NOTE * 7, 14),
    "programs": (program(0, 5) * 7, 42),
    "tempos": (tempo(0) * 7, 42),
    "keys": (key(0) * 7, 42),
    "meters": (meter(0) * 7, 42),
    "texts": (meta(0, 1, b"text") * 7, 21),
    "sysex": (b"\0\xf0\1\xf7" * 7, 21),
    "clocks": (b"\0\xf8" * 7, 21),
    "pressures": (b"\0\xd0\5" * 7, 7),
    "notes and texts": ((meta(0, 1) + NOTE) * 7, 7 * (3 + 3 + 2)),
}
FIRST = 150 + 5 + 3


@pytest.mark.parametrize("name", COSTS)
def test_all_that_is_read_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events, cost = COSTS[name]
    data = midi(track(NOTE, events))
    monkeypatch.setattr(parse_budget, "MAX_COST", FIRST + cost)
    parse_midi(data)
    monkeypatch.setattr(parse_budget, "MAX_COST", FIRST + cost - 1)
    with pytest.raises(MidiError, match=f"too much in it.* are more than {FIRST + cost - 1}"):
        parse_midi(data)


def test_tracks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_budget, "MAX_COST", 5 * FIRST)
    parse_midi(midi(*[track(NOTE)] * 5))
    with pytest.raises(MidiError, match="and 6 tracks"):
        parse_midi(midi(*[track(NOTE)] * 6))


def test_what_breaks_the_rules_counts_event_by_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the strict reader parsed before it gave up counts as well."""
    data = midi(chunk(b"MTrk", program(0, 5) * 4 + on(0, 200) + NOTE * 10 + program(0, 5)))
    cost = 150 + 4 * 6 + 21 * 3 + 5 * (6 + 3)
    monkeypatch.setattr(parse_budget, "MAX_COST", cost)
    assert len(parse_midi(data).tracks[0].starts) == 10
    monkeypatch.setattr(parse_budget, "MAX_COST", cost - 1)
    with pytest.raises(MidiError, match="9 changes of program"):
        parse_midi(data)


def test_long_music_is_read_whole() -> None:
    """300,000 notes, three megabytes."""
    ons = np.tile(np.array([0, 0x90, 60, 64, 120, 0x80, 60, 0], np.uint8), (300_000, 1))
    ons[:, [2, 6]] += np.random.default_rng(0).integers(0, 12, (300_000, 1)).astype(np.uint8)
    data = midi(track(ons.tobytes()))
    assert len(data) < MAX_FILE_SIZE / 4
    assert len(parse_tokens(data)) == 300_000


@pytest.mark.slow
def test_the_worst_sixteen_megabytes_are_refused() -> None:
    """They would take most of a minute, and gigabytes of memory."""
    for unit in (program(0, 5), NOTE, b"\0\xf8"):
        with pytest.raises(MidiError, match=r"too much in it.* are more than 2,500,000"):
            parse_midi(midi(track(NOTE, unit * ((MAX_FILE_SIZE - 99) // len(unit)))))
