"""Transposed and rare tokens."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
from helpers.midi_files import write_song
from helpers.paths import MIDI_SONGS

from jaxmusic.config import Config, ConfigError, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.corpus.corpus import Corpus, token_counts
from jaxmusic.data.batch import batch_at, map_rows
from jaxmusic.data.batch_sampler import BatchSampler, sequential_batches
from jaxmusic.data.loader import make_loader
from jaxmusic.data.token_map import OUT_OF_VOCABULARY, TokenMap, make_token_map
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import make_mesh
from jaxmusic.distributed.row_range import RowRange
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run import open_run
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.generate import generate
from jaxmusic.tokenizers.pitch_names import chord_name, class_set, transpose_token
from jaxmusic.tokenizers.tokenizer import read_tokens
from jaxmusic.tokenizers.vocabulary import RARE
from jaxmusic.trainer import fit

SONGS = sorted(MIDI_SONGS.glob("*.mid"))
SHIFTS = range(-5, 7)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("songs")
    for number in range(6):
        write_song(folder / f"{number}.mid", 70, seed=number)
    return prepare(folder, folder / "corpus", workers=1)


@pytest.mark.parametrize("shift", [-5, -1, 2, 6])
def test_tokens_of_transposed_files(tmp_path: Path, shift: int) -> None:
    """MIDI files with every note moved give the transposed tokens."""
    for path in SONGS[::9]:
        file = mido.MidiFile(path)
        for track in file.tracks:
            for message in track:
                if message.type in ("note_on", "note_off"):
                    message.note += shift
        file.save(tmp_path / "moved.mid")
        expected = [transpose_token(token, shift) for token in read_tokens(path)]
        assert read_tokens(tmp_path / "moved.mid") == expected


def test_transposing_goes_there_and_back() -> None:
    sets = [chord_name(class_set(classes)) for classes in ([0, 4, 7], [9, 0, 4, 7], [1, 2, 3])]
    for token in ("C4", "B-4", "F#2", "3", *sets):
        for shift in SHIFTS:
            there = transpose_token(token, shift)
            assert there is not None
            assert transpose_token(there, -shift) == token
            assert (there == token) == (shift == 0)
    assert transpose_token("G9", 1) is None and transpose_token("C-1", -1) is None
    with pytest.raises(ValueError, match="H4"):
        transpose_token("H4", 1)


def test_the_table_is_the_corpus_own(corpus: Corpus) -> None:
    token_map = make_token_map(corpus, transpose=(-5, 6))
    assert token_map.vocabulary is corpus.vocabulary
    assert token_map.shifts == (0, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)
    assert token_map.table is not None
    np.testing.assert_array_equal(token_map.table[0], np.arange(len(corpus.vocabulary)))
    for row, shift in enumerate(token_map.shifts):
        for place, token in enumerate(corpus.vocabulary.tokens):
            moved = transpose_token(token, shift)
            there = moved is not None and moved in corpus.vocabulary
            expected = corpus.vocabulary.id_of(str(moved)) if there else OUT_OF_VOCABULARY
            assert token_map.table[row, place] == expected
    assert (token_map.table == OUT_OF_VOCABULARY).any()
    assert make_token_map(corpus).table is None


def test_rows_that_leave_the_vocabulary_stay_as_they_are() -> None:
    table = np.array([[0, 1, 2], [1, 2, OUT_OF_VOCABULARY]], np.int32)
    rows = np.array([[0, 1, 0], [0, 1, 0], [0, 2, 1]], np.uint16)
    shifts = np.array([0, 1, 1])
    expected = [[0, 1, 0], [1, 2, 1], [0, 2, 1]]
    np.testing.assert_array_equal(map_rows(rows, table, shifts), expected)
    there = jax.jit(map_rows)(jnp.asarray(rows), jnp.asarray(table), jnp.asarray(shifts))
    np.testing.assert_array_equal(there, expected)


def samplers(corpus: Corpus) -> tuple[BatchSampler, BatchSampler, TokenMap]:
    """The training windows as they are, and transposed."""
    windows = Windows(corpus.tokens, [(0, len(corpus.tokens))], 12, objective="every")
    token_map = make_token_map(corpus, transpose=(-5, 6))
    plain = BatchSampler(windows, 32, seed=7)
    return plain, BatchSampler(windows, 32, seed=7, token_map=token_map), token_map


def test_each_window_is_transposed_as_a_whole_and_anew_each_epoch(corpus: Corpus) -> None:
    plain, moved, token_map = samplers(corpus)
    seen: list[list[int]] = []
    for epoch in range(3):
        shifts = []
        for step in range(epoch * plain.steps_per_epoch, (epoch + 1) * plain.steps_per_epoch):
            here, there = plain.batch(step), moved.batch(step)
            np.testing.assert_array_equal(here.weights, there.weights)
            wanted = moved.batch_index(step).shifts
            assert wanted is not None and token_map.table is not None
            rows = np.concatenate([here.inputs, here.targets[:, -1:]], axis=1)
            found = np.concatenate([there.inputs, there.targets[:, -1:]], axis=1)
            for row, shift, result in zip(rows, wanted, found, strict=True):
                by_table = token_map.table[shift][row]
                expected = row if (by_table == OUT_OF_VOCABULARY).any() else by_table
                np.testing.assert_array_equal(result, expected)
            shifts += wanted.tolist()
        seen.append(shifts)
    assert seen[0] != seen[1] != seen[2]
    # All shifts come, about equally often: 12 of them, some 400 windows an epoch.
    counts = np.bincount(np.concatenate(seen), minlength=12)
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.5 * counts.mean()


@pytest.mark.parametrize(
    ("transpose", "drawn"), [((5, 7), {5, 6, 7}), ((-3, -3), {-3}), ((-1, 1), {-1, 0, 1})]
)
def test_only_shifts_of_the_range_are_drawn(
    corpus: Corpus, transpose: tuple[int, int], drawn: set[int]
) -> None:
    windows = Windows(corpus.tokens, [(0, len(corpus.tokens))], 12, objective="every")
    token_map = make_token_map(corpus, transpose=transpose)
    assert token_map.table is not None
    sampler = BatchSampler(windows, 32, seed=7, token_map=token_map)
    rows = [sampler.batch_index(step).shifts for step in range(2 * sampler.steps_per_epoch)]
    found = np.array(token_map.shifts)[np.concatenate([row for row in rows if row is not None])]
    assert set(found.tolist()) == drawn
    counts = np.array([(found == shift).sum() for shift in drawn])
    assert (counts > 0.7 * len(found) / len(drawn)).all()
    # Row 0 is shift 0 in any case: evaluation reads by it, and so do windows that can't be moved.
    np.testing.assert_array_equal(token_map.table[0], np.arange(len(corpus.vocabulary)))


def test_what_is_drawn_never_changes(corpus: Corpus) -> None:
    """Runs that go on depend on it. If this fails the draws have changed: old runs can't resume."""
    _, sampler, _ = samplers(corpus)  # -5..6
    shifts = sampler.batch_index(3).shifts
    assert shifts is not None
    assert shifts[:12].tolist() == [10, 4, 11, 9, 7, 11, 5, 8, 3, 9, 11, 5]


def test_a_count_that_no_token_reaches_is_refused(corpus: Corpus) -> None:
    counts = token_counts(corpus)
    most = corpus.vocabulary.tokens[int(counts.argmax())]
    kept = make_token_map(corpus, min_count=int(counts.max())).vocabulary
    assert most in kept and RARE in kept
    message = (
        f"--min-count {counts.max() + 1} leaves no token to learn: the most frequent one, {most}"
    )
    with pytest.raises(ConfigError, match=f"{message}, occurs {counts.max()} times"):
        make_token_map(corpus, min_count=int(counts.max()) + 1)


def test_songs_held_out_are_never_transpose_token(corpus: Corpus) -> None:
    plain, moved, token_map = samplers(corpus)
    for here, there in zip(
        sequential_batches(plain.windows, RowRange.all(32)),
        sequential_batches(moved.windows, RowRange.all(32), token_map),
        strict=True,
    ):
        np.testing.assert_array_equal(here.inputs, there.inputs)
        np.testing.assert_array_equal(here.targets, there.targets)


@pytest.mark.slow
def test_devices_and_host_transpose_alike(corpus: Corpus) -> None:
    _, sampler, _ = samplers(corpus)
    mesh = make_mesh(1)
    devices = make_loader(sampler, mesh, RunConfig(), step=5, last_step=9)
    host = make_loader(sampler, mesh, RunConfig(device_corpus_mib=0), step=5, last_step=9)
    several = devices.take(5, 4)
    for number in range(4):
        there = batch_at(several, jnp.int32(number), window=12, objective="every")
        here = batch_at(host.take(5 + number, 1), jnp.int32(0), window=12, objective="every")
        for left, right in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    host.close()


def test_rare_tokens_become_one(corpus: Corpus) -> None:
    counts = token_counts(corpus)
    np.testing.assert_array_equal(counts, np.bincount(np.asarray(corpus.tokens)))
    least = int(np.sort(counts)[3]) + 1  # four or more are rarer
    token_map = make_token_map(corpus, min_count=least)
    assert token_map.table is not None
    assert token_map.rare == (counts < least).sum() >= 4
    assert len(token_map.vocabulary) == len(corpus.vocabulary) - token_map.rare + 1
    for place, token in enumerate(corpus.vocabulary.tokens):
        expected = token if counts[place] >= least else RARE
        assert token_map.vocabulary.decode([token_map.table[0, place]]) == [expected]
    # With transposition a rare token is the rare one, one that the corpus lacks still leaves.
    both = make_token_map(corpus, transpose=(2, 2), min_count=least).table
    assert both is not None
    alone = make_token_map(corpus, transpose=(2, 2)).table
    assert alone is not None
    np.testing.assert_array_equal(both[1] == OUT_OF_VOCABULARY, alone[1] == OUT_OF_VOCABULARY)
    there = alone[1] != OUT_OF_VOCABULARY
    np.testing.assert_array_equal(both[1][there], token_map.table[0][alone[1][there]])


def test_an_extended_vocabulary_has_all_keys(corpus: Corpus) -> None:
    token_map = make_token_map(corpus, transpose=(-5, 6), extend=True)
    assert token_map.table is not None and token_map.rare == 0
    assert (token_map.table != OUT_OF_VOCABULARY).all()
    known = corpus.vocabulary.tokens
    everywhere = {transpose_token(token, shift) for token in known for shift in range(-5, 7)}
    assert set(token_map.vocabulary.tokens) == everywhere and len(everywhere) > len(known)
    for row, shift in enumerate(token_map.shifts):
        found = token_map.vocabulary.decode(token_map.table[row])
        assert found == [transpose_token(token, shift) for token in known]


def test_an_extended_vocabulary_has_rare_tokens_where_a_key_needs_them(corpus: Corpus) -> None:
    least = int(np.sort(token_counts(corpus))[3]) + 1
    alone = make_token_map(corpus, transpose=(-5, 6), min_count=least)
    token_map = make_token_map(corpus, transpose=(-5, 6), min_count=least, extend=True)
    kept = [token for token in alone.vocabulary.tokens if token != RARE]
    everywhere = {transpose_token(token, shift) for token in kept for shift in range(-5, 7)}
    assert set(token_map.vocabulary.tokens) - {RARE} == everywhere
    assert token_map.rare == len(set(corpus.vocabulary.tokens) - everywhere)
    assert (RARE in token_map.vocabulary) == (token_map.rare > 0)
    assert token_map.table is not None
    for token in kept:
        column = token_map.table[:, corpus.vocabulary.id_of(token)]
        assert (column != OUT_OF_VOCABULARY).all()


@pytest.mark.parametrize("value", ["3", "6..-5", "a..b", "-30..2", "1..", ""])
def test_ranges_that_make_no_sense(value: str) -> None:
    with pytest.raises(ConfigError, match=f"--transpose is {value}"):
        Config(data=DataConfig(transpose=value)).check()


@pytest.mark.slow
def test_training_so_goes_on_bit_for_bit_and_makes_music(corpus: Corpus, tmp_path: Path) -> None:
    least = int(np.sort(token_counts(corpus))[3]) + 1
    config = Config(
        data=DataConfig(
            corpus=str(corpus.path), window=10, held_out=0.2, transpose="-5..6", min_count=least
        ),
        model=ModelConfig(hidden_size=8, dense_size=6, layers=2),
        train=TrainConfig(epochs=2, batch_size=64),
        run=RunConfig(run_dir=str(tmp_path / "whole"), compilation_cache=False),
    )
    fit(config)
    parts = replace(config, run=replace(config.run, run_dir=str(tmp_path / "parts")))
    fit(replace(parts, train=replace(config.train, max_steps=3)))
    fit(parts)
    whole, again = (open_run(tmp_path / name, "latest") for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.params, again.params)
    with pytest.raises(ConfigError, match=r"other settings \(transpose, min_count\)"):
        fit(replace(parts, data=replace(config.data, transpose=None, min_count=1)))

    assert RARE in whole.vocabulary
    rare = whole.vocabulary.id_of(RARE)
    assert (whole.primers == rare).any() and whole.primers.max() < len(whole.vocabulary)
    # Even where it is by far the likeliest.
    whole.params["output"]["bias"] = whole.params["output"]["bias"].copy()
    whole.params["output"]["bias"][rare] = 50.0
    for sampling in (SamplingConfig(greedy=True), SamplingConfig(temperature=2.0)):
        pieces = generate(whole, length=20, count=3, sampling=sampling)
        assert not any(RARE in piece for piece in pieces)
    # A prime's unknown tokens are rare ones.
    prime = ["A#9-never-seen", *whole.vocabulary.decode(whole.primers[0])[1:]]
    assert len(generate(whole, length=3, prime=prime)[0]) == 3
