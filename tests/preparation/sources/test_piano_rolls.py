"""Public piano-roll sets as corpora."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from jaxmusic.config import DataConfig
from jaxmusic.corpus.corpus import Corpus, find_damage
from jaxmusic.data.windows import held_out_songs
from jaxmusic.preparation.sources import piano_rolls
from jaxmusic.preparation.sources.piano_rolls import (
    PianoRollError,
    prepare_piano_rolls,
    read_piano_rolls,
    roll_tokens,
)

SIZES = {"train": (9, 4, 7), "valid": (5, 6), "test": (8,)}


def cells(arrays: list[np.ndarray]) -> np.ndarray:
    found = np.empty((1, len(arrays)), object)
    for number, array in enumerate(arrays):
        found[0, number] = array
    return found


def make_rolls(seed: int = 0) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        part: [(rng.random((rows, 88)) < 0.04).astype(np.uint8) for rows in sizes]
        for part, sizes in SIZES.items()
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "set.mat"
    savemat(path, {f"{part}data": cells(rolls) for part, rolls in make_rolls().items()})
    return path


def test_the_parts_are_read_as_they_were_written(file: Path) -> None:
    for part, rolls in make_rolls().items():
        found = read_piano_rolls(file, part)  # type: ignore[arg-type]
        assert len(found) == len(rolls)
        for ours, theirs in zip(found, rolls, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_column_0_is_the_lowest_key() -> None:
    roll = np.zeros((2, 88), bool)
    roll[0, [0, 87]] = True
    assert roll_tokens(roll) == ["step", "p108", "p21", "step", "step"]


def test_the_corpus_has_training_and_validation_songs_alone(file: Path, tmp_path: Path) -> None:
    corpus = prepare_piano_rolls(file, tmp_path / "corpus")
    names = ["train/0001", "train/0002", "train/0003", "valid/0001", "valid/0002"]
    assert list(corpus.songs) == names
    rolls = make_rolls()
    for number, roll in enumerate([*rolls["train"], *rolls["valid"]]):
        start, stop = corpus.offsets[number : number + 2]
        assert corpus.vocabulary.decode(corpus.tokens[start:stop]) == roll_tokens(roll > 0)
    held = held_out_songs(corpus.songs, DataConfig(held_out_match="valid/*"), seed=0)
    assert held.tolist() == [False] * 3 + [True] * 2
    assert find_damage(corpus.path) == ""


def test_the_same_set_is_prepared_once_and_another_replaces_it(file: Path, tmp_path: Path) -> None:
    first = prepare_piano_rolls(file, tmp_path / "corpus")
    inode = (tmp_path / "corpus" / "tokens.npy").stat().st_ino
    assert prepare_piano_rolls(file, tmp_path / "corpus").digest == first.digest
    assert (tmp_path / "corpus" / "tokens.npy").stat().st_ino == inode
    savemat(file, {f"{part}data": cells(rolls) for part, rolls in make_rolls(seed=1).items()})
    prepare_piano_rolls(file, tmp_path / "corpus")
    assert Corpus.open(tmp_path / "corpus").digest != first.digest


@pytest.mark.raises_at("jaxmusic/preparation/sources/piano_rolls.py:read_piano_rolls", "variable")
def test_a_file_without_the_variable_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "set.mat", {"other": 1})
    with pytest.raises(PianoRollError, match=r"set.mat can't be read: it has no variable traindat"):
        read_piano_rolls(tmp_path / "set.mat", "train")


@pytest.mark.raises_at("jaxmusic/preparation/sources/piano_rolls.py:read_piano_rolls", "is empty")
def test_a_set_without_songs_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "set.mat", {"traindata": cells([])})
    with pytest.raises(PianoRollError, match=r"set.mat can't be read: traindata is empty"):
        read_piano_rolls(tmp_path / "set.mat", "train")


@pytest.mark.raises_at("jaxmusic/preparation/sources/piano_rolls.py:_to_roll", "not (rows")
@pytest.mark.parametrize(
    "cell", [np.zeros((5, 87)), np.zeros((88, 2)), "notes", np.full((1, 88), 1j)]
)
def test_cells_of_another_shape_or_kind_are_refused(tmp_path: Path, cell: object) -> None:
    savemat(tmp_path / "set.mat", {"traindata": cells([np.zeros((5, 88)), np.asarray(cell)])})
    with pytest.raises(PianoRollError, match=r"song 2 of traindata is .*, not \(rows, 88\)"):
        read_piano_rolls(tmp_path / "set.mat", "train")


@pytest.mark.raises_at("jaxmusic/preparation/sources/piano_rolls.py:_to_roll", "other values")
@pytest.mark.parametrize("value", [0.5, np.nan, 2, -1])
def test_other_values_than_0_and_1_are_refused(tmp_path: Path, value: float) -> None:
    savemat(tmp_path / "set.mat", {"traindata": cells([np.full((5, 88), value)])})
    with pytest.raises(PianoRollError, match="song 1 of traindata has other values than 0 and 1"):
        read_piano_rolls(tmp_path / "set.mat", "train")


def test_damaged_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.mat"
    refused = 0
    for trial in range(60):
        data = bytearray(whole[: rng.integers(len(whole))] if trial % 2 else whole)
        for position in rng.integers(len(data), size=min(len(data), 3)) if data else ():
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_piano_rolls(path, "train")
        except PianoRollError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30
    with pytest.raises(PianoRollError, match="No such file"):
        read_piano_rolls(tmp_path / "none.mat", "train")


@pytest.mark.raises_at("jaxmusic/preparation/sources/piano_rolls.py:read_piano_rolls", "MOST_ROWS")
def test_files_too_large_are_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piano_rolls, "LARGEST", 100)
    with pytest.raises(PianoRollError, match="larger than 100 bytes"):
        read_piano_rolls(file, "train")
    monkeypatch.undo()
    monkeypatch.setattr(piano_rolls, "MOST_ROWS", 19)
    with pytest.raises(PianoRollError, match="more than 19 rows"):
        read_piano_rolls(file, "train")
