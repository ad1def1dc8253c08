"""The project's own training set: its files, its notation, and the rules of its music."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from helpers.paths import ROOT
from songwriting import catalogue, harmony, notation, voicing
from songwriting.catalogue import COMPOSED
from songwriting.harmony import chord, progression
from songwriting.keys import Key
from songwriting.score import QUARTER, Score, lanes, save
from tools import make_songs

from jaxmusic.config import ConfigError
from jaxmusic.midi.types import Note
from jaxmusic.midi.writer import write_notes
from jaxmusic.tokenizers.tokenizer import read_tokens

SONGS = ROOT / "midi_songs"
HEADER = """title: Test
composer: nobody
work: none
bars: 1
sure: sure
key: C
meter: 3/4
tempo: 100
"""


@pytest.fixture(scope="module")
def made() -> dict[str, Score]:
    return dict(catalogue.pieces())


@pytest.fixture(scope="module")
def tokens() -> dict[str, list[str]]:
    return {path.stem: read_tokens(path) for path in sorted(SONGS.glob("*.mid"))}


# The files


def test_the_files_equal_a_fresh_making(made: dict[str, Score], tmp_path: Path) -> None:
    assert sorted(made) == sorted(path.stem for path in SONGS.glob("*.mid"))
    for name, score in made.items():
        save(score, tmp_path / f"{name}.mid")
        same = (tmp_path / f"{name}.mid").read_bytes() == (SONGS / f"{name}.mid").read_bytes()
        assert same, f"{name} differs: run python scripts/dev/make_songs.py"


def test_the_set_is_large_enough(tokens: dict[str, list[str]]) -> None:
    assert len(tokens) >= 40
    assert sum(map(len, tokens.values())) >= 20_000
    assert all(len(stream) > 101 for stream in tokens.values())
    assert 150 <= len({token for stream in tokens.values() for token in stream}) <= 300


def test_no_note_is_lost_between_score_and_stream(
    made: dict[str, Score], tokens: dict[str, list[str]],
) -> None:
    for name, score in made.items():
        groups = sum(len({(note.start, note.end) for note in lane})
                     for hand in score.hands for lane in lanes(hand))
        # A pitch that two voices of a hand strike together may end early and split a chord.
        assert abs(len(tokens[name]) - groups) <= 0.02 * groups, name


def test_the_readme_names_every_origin(made: dict[str, Score]) -> None:
    assert catalogue.tables(made) in (SONGS / "README.md").read_text(encoding="utf-8")


# The notation


def notes_of(music: str, header: str = HEADER) -> list[Note]:
    score = notation.parse(header + music, "test").score
    return sorted(note for hand in score.hands for note in hand)


def test_a_note_without_octave_is_the_nearest() -> None:
    assert [note.pitch for note in notes_of("[A]\nrh: 4 c4 g a | 8 e5 b4 8. c 16 bb 4 f#")] == [
        60, 55, 57, 76, 71, 72, 70, 66]


def test_chords_ties_and_dots() -> None:
    notes = notes_of("[A]\nrh: 2 [c4 e g]~ 4 [c4 e g] | 4. d4 4. r")
    assert [(note.start, note.end, note.pitch) for note in notes] == [
        (0, 1440, 60), (0, 1440, 64), (0, 1440, 67), (1440, 2160, 62)]


def test_patterns_upbeats_and_forms() -> None:
    music = """pattern up rh: 8 $1 $2 $3 $3 $2 $1
form: U A A
[U]
rh: {1/4} 4 g4
[A]
rh: @up(c4 e g) | {1/2} 2 c5
"""
    notes = notes_of(music)
    assert notes[0].start == 2 * QUARTER  # the upbeat stands at the end of its bar
    assert [note.pitch for note in notes[1:7]] == [60, 64, 67, 67, 64, 60]
    assert len(notes) == 1 + 2 * 7


@pytest.mark.parametrize(("music", "words"), [
    ("[A]\nrh: 4 c4 d e | 4 c d e 8 f", r"test:10: bar 2 of rh in \[A\] has 3.5 quarters, "
                                        r"the metre wants 3"),
    ("[A]\nrh: c4 d e", "bar 1 of rh in .A.: c4 comes before any length"),
    ("[A]\nrh: 4 c d e", "first note, c, needs an octave"),
    ("[A]\nrh: 4 c4 x e", "'x' is no note, length or sign"),
    ("[A]\nrh: 4 c4~ d e", "a tie leads to d"),
    ("[A]\nrh: 4 c4 d e~", "ends in an open tie"),
    ("[A]\nrh: 4 !loud c4 d e", "no such dynamic"),
    ("[A]\nrh: @none(c4)", "no pattern none for rh"),
    ("[A]\nrh: 2. c4 | 2. d\nlh: 2. c3", "lh has 1 bars, rh 2"),
    ("[A]\nrh: 2. c4\nchords: H7", "no such chord"),
    ("[A]\nrh: 2. c4\nchords: (tango) C", "no such accompaniment"),
    ("form: A B\n[A]\nrh: 2. c4", r"names \[B\]"),
])
def test_errors_name_the_place(music: str, words: str) -> None:
    with pytest.raises(notation.SourceError, match=words):
        notes_of(music)


def test_a_header_must_name_its_certainty() -> None:
    with pytest.raises(notation.SourceError, match="no line 'sure:'"):
        notes_of("[A]\nrh: 2. c4", HEADER.replace("sure: sure\n", ""))


def test_a_section_may_be_like_another() -> None:
    music = "[A]\nrh: 2. c4\nlh: 2. c3\n[B like A]\nlh: 2. e3\n"
    assert [note.pitch for note in notes_of(music)] == [48, 60, 52, 60]


# Harmony


@pytest.mark.parametrize(("key", "symbol", "classes", "bass"), [
    ("C", "V7", (7, 11, 2, 5), 7), ("C", "ii65", (2, 5, 9, 0), 5),
    ("Am", "V", (4, 8, 11), 4), ("Am", "viio7", (8, 11, 2, 5), 8), ("Am", "VII7", (7, 11, 2, 5), 7),
    ("C", "V65/V", (2, 6, 9, 0), 6), ("C", "V7/vi", (4, 8, 11, 2), 4),
    ("C", "viio7/V", (6, 9, 0, 3), 6),
    ("Em", "bII6", (5, 9, 0), 9), ("Dm", "i64", (2, 5, 9), 9), ("F#m", "iiø65", (8, 11, 2, 6), 11),
])
def test_numerals(key: str, symbol: str, classes: tuple[int, ...], bass: int) -> None:
    found = chord(Key.parse(key), symbol)
    assert found.classes == classes
    assert found.bass_class == bass


def test_four_part_writing_breaks_no_rule() -> None:
    """No parallel fifths or octaves, no overlaps; sevenths fall and leading tones rise."""
    texts = [harmony.PERIODS_MAJOR[3][1], harmony.MIDDLES_MAJOR[1], "I ii65 V7 I | vi ii6 V7 I"]
    for name in ("C", "Eb", "A", "F#"):
        for text in texts:
            chords = [span.chord for span in progression(Key.parse(name), text, 4 * QUARTER)]
            rows = voicing.voice(chords, Random(1))
            assert sum(voicing.faults(a, b) for a, b in pairwise(rows)) == 0
            for before, after, a, b in zip(chords, chords[1:], rows, rows[1:], strict=False):
                if before.seventh is not None and before.classes != after.classes:
                    voice = [pitch % 12 for pitch in a].index(before.seventh)
                    assert a[voice] - b[voice] in (0, 1, 2), (name, before.symbol, after.symbol)


# The composed pieces


def composed(made: dict[str, Score], form: str = "") -> Iterator[tuple[str, Score]]:
    for one in COMPOSED:
        if one.form == form or not form:
            yield one.name, made[one.name]


def test_every_piece_ends_on_its_tonic(made: dict[str, Score]) -> None:
    for name, score in composed(made):
        tonic = Key.parse(score.key).pitch_class
        last = [note for hand in score.hands for note in hand if note.end == score.end]
        assert min(note.pitch for note in last) % 12 == tonic, name
        thirds = {(tonic + third) % 12 for third in (0, 3, 4, 7)}
        assert {note.pitch % 12 for note in last} <= thirds, name


def test_keys_and_metres_are_as_declared(made: dict[str, Score]) -> None:
    for name, score in composed(made):
        scale = set(Key.parse(score.key).scale)
        notes = [note for hand in score.hands for note in hand]
        inside = sum(note.pitch % 12 in scale for note in notes) / len(notes)
        # Trios, modulations and the minor's raised degrees take the rest.
        assert inside > 0.6, (name, inside)
        beat = score.bar // score.meter[0]
        assert score.bar % beat == 0
        starts = {note.start % score.bar for note in notes}
        assert 0 in starts
        assert all(note.start % (QUARTER // 12) == 0 for note in notes), name
        if not name.startswith("composed_canon"):
            assert score.end % score.bar in (0, score.bar - QUARTER, score.bar - 2 * QUARTER,
                                             score.bar - QUARTER // 2), name


def test_tunes_are_singable(made: dict[str, Score]) -> None:
    """Steps and thirds for the most part; sevenths, and leaps beyond an octave, hardly ever (a
    phrase may begin far from where the last one ended)."""
    for name, score in composed(made):
        if "prelude" in name or "chorale" in name:
            continue
        top: dict[int, int] = {}
        for note in score.hands[0]:
            top[note.start] = max(note.pitch, top.get(note.start, 0))
        leaps = [abs(b - a) for a, b in pairwise(top[tick] for tick in sorted(top))]
        assert sum(leap > 12 for leap in leaps) <= 2, name
        assert sum(leap in (10, 11) for leap in leaps) <= 0.03 * len(leaps), name
        assert sum(leap <= 4 for leap in leaps) >= 0.6 * len(leaps), name


def sounding(notes: tuple[Note, ...], tick: int) -> int | None:
    return next((note.pitch for note in notes if note.start <= tick < note.end), None)


@pytest.mark.parametrize("form", ["invention", "fugue", "canon"])
def test_counterpoint_is_consonant_on_its_beats(made: dict[str, Score], form: str) -> None:
    """Beats hold thirds, fifths, sixths, octaves, and the fourths and tritones of the harmony;
    seconds and sevenths only in passing. Parallel fifths and octaves are all but absent."""
    for name, score in composed(made, form):
        beat = 3 * QUARTER // 2 if score.meter[1] == 8 else QUARTER
        harsh = parallel = beats = 0
        for upper, lower in pairwise(score.hands):
            before: tuple[int, int] | None = None
            for tick in range(0, score.end, beat):
                high, low = sounding(upper, tick), sounding(lower, tick)
                if high is None or low is None:
                    before = None
                    continue
                beats += 1
                interval = abs(high - low) % 12
                harsh += interval in (1, 2, 10, 11)
                if before is not None and before[0] != high and before[1] != low:
                    parallel += interval in (0, 7) and abs(before[0] - before[1]) % 12 == interval
                before = high, low
        assert beats > 20, name
        assert harsh <= 0.12 * beats, (name, harsh, beats)
        assert parallel <= 0.06 * beats, (name, parallel, beats)


def test_inventions_answer_their_subject(made: dict[str, Score]) -> None:
    """The lower voice begins with the subject an octave or more below, a bar later."""
    for name, score in composed(made, "invention"):
        upper, lower = (
            [note for note in hand if bar * score.bar <= note.start < (bar + 1) * score.bar]
            for bar, hand in enumerate(score.hands))
        assert [note.start + score.bar for note in upper] == [note.start for note in lower], name
        distances = {a.pitch - b.pitch for a, b in zip(upper, lower, strict=True)}
        assert distances <= {12, 24}, name


def test_canons_are_canons(made: dict[str, Score]) -> None:
    for name, score in composed(made, "canon"):
        leader, follower = (sorted(hand) for hand in score.hands[:2])
        delay = follower[0].start - leader[0].start
        drop = leader[0].pitch - follower[0].pitch
        assert drop in (0, 12), name
        for a, b in zip(leader[:-1], follower[:-1], strict=True):
            assert (a.start + delay, a.pitch - drop) == (b.start, b.pitch), name


def test_chorales_have_no_parallels(made: dict[str, Score]) -> None:
    """From beat to beat, in all pairs of the four parts, as they sound."""
    for name, score in composed(made, "chorale"):
        verse = score.end // 2 + QUARTER  # the second verse is broken into figures
        notes = [note for hand in score.hands for note in hand if note.end <= verse]
        chords = [sorted(note.pitch for note in notes if note.start <= tick < note.end)
                  for tick in range(0, score.end // 2, QUARTER)]
        assert all(3 <= len(one) <= 4 for one in chords), name
        rows = [(one[0], one[1], one[2], one[3]) for one in chords if len(one) == 4]
        faults = 0
        for place, (a, b) in enumerate(pairwise(rows)):
            if len(chords[place]) == len(chords[place + 1]) == 4 and place % 8 != 7:
                outer = (b[3] - b[0]) % 12
                faults += (outer in (0, 7) and (a[3] - a[0]) % 12 == outer
                           and a[0] != b[0] and a[3] != b[3])
        assert faults <= 1, name


@pytest.mark.raises_at("scripts/dev/tools/make_songs.py:_refuse_another_song")
def test_a_piece_replaces_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    make_songs._refuse_another_song(path, "Canon")
    path.write_bytes(b"my own music")
    with pytest.raises(ConfigError, match=r"a\.mid is not the piece that --out would put there"):
        make_songs._refuse_another_song(path, "Canon")
    write_notes(path, [[Note(0, 480, 60)]], title="Canon")
    make_songs._refuse_another_song(path, "Canon")
