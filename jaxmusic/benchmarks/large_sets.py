"""Large sets of varied MIDI files, made of a small set of songs.

Each file is a few cuts of songs one after another, transposed, re-timed and played by other
instruments; one in a hundred is damaged. File k of a seed is the same however many files there are.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jaxmusic.corpus.corpus import CorpusError
from jaxmusic.errors import reason_of
from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiError, MidiScore
from jaxmusic.preparation.scan import find_files
from jaxmusic.runtime.printable import printable

FILES_PER_FOLDER = 1_000
DAMAGED = 0.01  # share of files that are truncated
MAX_CUTS = 8
TICKS = (96, 120, 192, 220, 384, 480, 960)  # per quarter
PROGRAMS = (0, 1, 6, 19, 24, 32, 40, 42, 46, 48, 52, 56, 61, 68, 71, 73)
TIME_FACTORS = (0.5, 0.75, 1.0, 1.0, 1.0, 1.5, 2.0)

Notes = npt.NDArray[np.float64]  # (notes, 3): start and end in quarters, pitch


def write_set(songs: list[list[Notes]], out: Path, files: int, seed: int) -> int:
    """Write a set; return its size in bytes."""
    size = 0
    for number in range(files):
        folder = out / f"{number // FILES_PER_FOLDER:04}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        data = make_file(songs, seed, number)
        (folder / f"{number:07}.mid").write_bytes(data)
        size += len(data)
    return size


def read_songs(folder: Path) -> list[list[Notes]]:
    """Read the notes of each song's tracks. Songs that can't be read are skipped and printed.

    Raises CorpusError if no song is left.
    """
    songs = []
    found = find_files(folder).files
    for path in found:
        try:
            songs.append(_tracks(read_midi(folder / path)))
        except (MidiError, OSError) as error:
            print(printable(f"left out: {path}: {reason_of(error)}"))
    if not any(songs):
        raise CorpusError(
            f"None of the {len(found):,} MIDI files in {folder} has any notes: give other songs."
        )
    return [song for song in songs if song]


def make_file(songs: list[list[Notes]], seed: int, number: int) -> bytes:
    """Make the bytes of one file."""
    rng = np.random.default_rng((seed, number))
    ticks = int(rng.choice(TICKS))
    tracks: list[list[Notes]] = []
    now = 0.0  # quarters
    for _ in range(rng.integers(1, MAX_CUTS + 1)):
        song = songs[rng.integers(len(songs))]
        length = max(float(track[-1, 0]) for track in song)
        start = rng.uniform(0, length / 2)
        end = start + rng.uniform(length / 4, length)
        factor = float(rng.choice(TIME_FACTORS))
        transpose = int(rng.integers(-6, 7))
        last = now
        for part, track in enumerate(song):
            if part == len(tracks):
                tracks.append([])
            cut = track[(track[:, 0] >= start) & (track[:, 0] < end)]
            if len(cut):
                moved = (cut - [start, start, 0]) * [factor, factor, 1] + [now, now, transpose]
                tracks[part].append(moved)
                last = max(last, float(moved[:, 1].max()))
        now = np.ceil(last)
    chunks = [_conductor(rng)]
    first_program = int(rng.choice(PROGRAMS))
    for channel, pieces in enumerate(tracks[:9]):
        program = first_program if rng.random() < 0.7 else int(rng.choice(PROGRAMS))
        if pieces:
            chunks.append(_track(np.concatenate(pieces), ticks, channel, program, rng))
    header = b"".join(value.to_bytes(2) for value in (1, len(chunks), ticks))
    data = _chunk(b"MThd", header) + b"".join(_chunk(b"MTrk", chunk) for chunk in chunks)
    if rng.random() < DAMAGED:
        data = data[: rng.integers(len(data))]
    return data


def _tracks(score: MidiScore) -> list[Notes]:
    return [
        np.stack(
            [
                np.array(track.starts) / score.ticks_per_quarter,
                np.array(track.ends) / score.ticks_per_quarter,
                np.array(track.pitches, float),
            ],
            axis=1,
        )
        for track in score.tracks
        if len(track.starts)
    ]


def _conductor(rng: np.random.Generator) -> bytes:
    tempo = int(60e6 / rng.uniform(50, 180)).to_bytes(3)
    meter = bytes((int(rng.choice((2, 3, 4, 6))), 2, 24, 8))
    return b"\x00\xff\x51\x03" + tempo + b"\x00\xff\x58\x04" + meter + b"\x00\xff\x2f\x00"


def _track(notes: Notes, ticks: int, channel: int, program: int, rng: np.random.Generator) -> bytes:
    """Events of a track: a program change, the notes, sometimes a pedal change each quarter."""
    starts, ends = (np.rint(notes[:, side] * ticks).astype(np.int64) for side in (0, 1))
    ends = np.maximum(ends, starts + 1)
    pitches = np.clip(notes[:, 2], 0, 127).astype(np.int64)
    velocities = rng.integers(40, 120, len(notes))
    off = 0x80 if rng.random() < 0.5 else 0x90  # a note-off, or a note-on of velocity 0
    count = len(notes)
    when = np.concatenate([starts, ends])
    kinds = np.repeat([0x90, off], count) | channel
    firsts = np.tile(pitches, 2)
    seconds = np.concatenate([velocities, np.zeros(count, np.int64)])
    rank = np.repeat([2, 0], count)  # of the events at a tick, note-offs come first
    if rng.random() < 0.3:
        beats = np.arange(0, int(ends.max()), ticks)
        when = np.concatenate([when, beats])
        kinds = np.concatenate([kinds, np.full(len(beats), 0xB0 | channel)])
        firsts = np.concatenate([firsts, np.full(len(beats), 64)])
        seconds = np.concatenate([seconds, rng.integers(0, 128, len(beats))])
        rank = np.concatenate([rank, np.ones(len(beats), np.int64)])
    order = np.lexsort((rank, when))
    running = rng.random() < 0.7
    events = _encode(when[order], kinds[order], firsts[order], seconds[order], running=running)
    return bytes((0, 0xC0 | channel, program)) + events + b"\x00\xff\x2f\x00"


def _encode(
    when: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    seconds: npt.NDArray[np.int64],
    *,
    running: bool,
) -> bytes:
    """Encode events of two data bytes: a row of six bytes each, without those not needed."""
    delta = np.diff(when, prepend=0)
    rows = np.stack(
        [delta >> 14 | 0x80, delta >> 7 & 0x7F | 0x80, delta & 0x7F, kinds, firsts, seconds], axis=1
    ).astype(np.uint8)
    needed = np.ones(rows.shape, np.bool_)
    needed[:, 0] = delta >= 1 << 14
    needed[:, 1] = delta >= 1 << 7
    if running:
        needed[1:, 3] = kinds[1:] != kinds[:-1]
    return rows[needed].tobytes()


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4) + body
