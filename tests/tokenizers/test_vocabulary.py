"""Vocabularies: tokens to ids and back, and their files."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.tokenizers.vocabulary import Vocabulary


def test_ids_are_indices_of_the_sorted_tokens() -> None:
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
        with pytest.raises(ValueError, match=f"{wrong} is not a token id"):
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
        ('{"format": 1, "scheme": "other", "tokens": ["C4"]}', "no token scheme 'other'"),
    ],
)
def test_another_file_is_not_a_vocabulary(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=reason) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)


def test_which_token_may_follow_which() -> None:
    rolls = Vocabulary(("p60", "p64", "step"), "piano-roll")
    table = rolls.allowed_next()
    assert table is not None
    assert table.tolist() == [[False, False, True], [True, False, True], [True, True, True]]
    assert Vocabulary(("C4", "E4")).allowed_next() is None
