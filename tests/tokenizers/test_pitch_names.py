"""Names of pitches and chords."""

import hashlib

import pytest

from jaxmusic.tokenizers.pitch_names import chord_name, class_set, pitch_name, pitches_of


@pytest.mark.parametrize(
    ("pitch", "name"),
    [(60, "C4"), (0, "C-1"), (127, "G9"), (10, "B--1"), (3, "E--1"), (12, "C0"), (59, "B3")],
)
def test_octaves(pitch: int, name: str) -> None:
    assert pitch_name(pitch) == name


def test_black_keys_have_one_spelling() -> None:
    names = "C4 C#4 D4 E-4 E4 F4 F#4 G4 G#4 A4 B-4 B4"
    assert " ".join(map(pitch_name, range(60, 72))) == names


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        ([9], "9"),
        ([0, 4, 7], "0.4.7"),
        ([4, 9, 0], "9.0.4"),
        ([11, 2, 7], "7.11.2"),
        ([0, 7], "7.0"),
        ([0, 6], "0.6"),  # both ways are as wide: the lower class comes first
        ([0, 4, 8], "0.4.8"),
        ([0, 3, 6, 9], "0.3.6.9"),
        # As wide from 4 as from 0: the smaller first interval decides, but in the mirror image.
        ([0, 4, 7, 8], "0.4.7.8"),
        ([0, 1, 4, 8], "0.1.4.8"),
        (list(range(12)), "0.1.2.3.4.5.6.7.8.9.10.11"),
    ],
)
def test_chords_are_in_normal_order(classes: list[int], name: str) -> None:
    assert chord_name(class_set(classes)) == name


def test_all_chords_are_what_they_were() -> None:
    """All 4,095 were compared with music21 5.7.2. If this fails, old corpora don't fit any more."""
    names = " ".join(chord_name(classes) for classes in range(1, 4096))
    assert hashlib.sha256(names.encode()).hexdigest() == (
        "cc306d94cab2691bb2e09846db5870ad4269e48d7213989f19072fc7b21b22c7"
    )


def test_no_classes_are_no_chord() -> None:
    with pytest.raises(ValueError, match="at least one"):
        chord_name(0)


def test_every_name_gives_its_pitches_back() -> None:
    for pitch in range(128):
        if pitch not in (4, 11):
            assert pitches_of(pitch_name(pitch)) == [pitch]
    for classes in range(1, 4096):
        assert class_set(pitches_of(chord_name(classes))) == classes


def test_of_two_pitches_of_one_name_the_flat_is_meant() -> None:
    """E of octave -1 and E flat of octave 1 are both "E-1", and so with B."""
    assert pitch_name(4) == pitch_name(27) == "E-1"
    assert pitch_name(11) == pitch_name(34) == "B-1"
    assert [pitches_of(name) for name in ("E-1", "B-1")] == [[27], [34]]


def test_chords_are_voiced_upwards_from_the_octave_of_c3() -> None:
    assert pitches_of("0.4.7") == [48, 52, 55]
    assert pitches_of("7.11.2") == [55, 59, 62]
    assert pitches_of("9") == [57, 69]
    assert pitches_of("0.1.2.3.4.5.6.7.8.9.10.11") == list(range(48, 60))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "H4",
        "D-4",
        "C",
        "C10",
        "G#9",
        "C4 ",
        "c4",
        "4.4",
        "4.0",
        "0.12",
        "00",
        "0.4.",
        "-1",
        "0.7.4",
        "0.4.7.0",
        "\u0660",
    ],
)
def test_other_texts_are_refused_by_name(token: str) -> None:
    with pytest.raises(ValueError) as caught:
        pitches_of(token)
    assert repr(token) in str(caught.value)
