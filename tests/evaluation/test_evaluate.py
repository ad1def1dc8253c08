"""A whole evaluation: its figures by other ways, its tables, its JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run_here
from helpers.small_runs import changed, small_config, small_corpus

from jaxmusic.evaluation.evaluate import Evaluation, evaluate_run
from jaxmusic.evaluation.likelihood.network import network_bits
from jaxmusic.evaluation.likelihood.ngrams import NgramModel
from jaxmusic.evaluation.report import report_lines
from jaxmusic.evaluation.songs import RunSongs, known_ids, load_songs
from jaxmusic.run import Run
from jaxmusic.trainer import fit

pytestmark = pytest.mark.slow  # a training, and pieces

COUNT, LENGTH = 3, 40


@pytest.fixture(scope="module", params=["classic", "piano-roll"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of each objective, one without and one with rhythm."""
    folder = tmp_path_factory.mktemp(request.param)
    corpus = small_corpus(folder / "midi", scheme=request.param)
    config = changed(small_config(corpus, folder / "run"), "data", held_out=0.3)
    config = changed(config, "data", scheme=request.param, across_songs=False)
    if request.param == "piano-roll":
        config = changed(config, "model", objective="every", input="embedding", embedding_size=4)
    return fit(changed(config, "train", max_steps=2))


@pytest.fixture(scope="module")
def songs(run: Run) -> RunSongs:
    return load_songs(run, corpus=None, midi_dir=None, held_out_dir=None, most=99, log=print)


@pytest.fixture(scope="module")
def found(run: Run, songs: RunSongs) -> Evaluation:
    return evaluate_run(run, songs, count=COUNT, length=LENGTH)


def test_bits_are_divided_by_what_the_songs_have(
    run: Run, songs: RunSongs, found: Evaluation
) -> None:
    ids = [known_ids(song, run.vocabulary) for song in songs.held_out]
    scored = network_bits(run, ids)
    bits = sum(each.bits.sum() for each in scored)
    tokens = sum(len(each.bits) for each in scored)
    assert found.held_out is not None
    assert found.held_out.tokens == tokens
    models = found.held_out.models
    assert models["network"]["token"].value == pytest.approx(bits / tokens)
    assert models["uniform"]["token"].value == pytest.approx(np.log2(len(run.vocabulary)))
    if run.config.model.objective == "every":  # all tokens but the first are predicted
        notes = sum(len(song.notes) for song in songs.held_out)
        quarters = sum(song.notes.end for song in songs.held_out)
        assert models["network"]["note"].value == pytest.approx(bits / notes)
        assert models["network"]["quarter"].value == pytest.approx(bits / quarters)
        assert models["network"]["second"].value == pytest.approx(2 * bits / quarters)
        kinds = found.held_out.kinds
        assert set(kinds) == {"key", "step"}
        assert sum(each.tokens * each.bits_per_token for each in kinds.values()) == pytest.approx(
            bits
        )
    else:
        assert set(models["network"]) == {"token", "note"}


def test_n_grams_are_fitted_to_the_training_songs_alone(
    run: Run, songs: RunSongs, found: Evaluation
) -> None:
    training = [known_ids(song, run.vocabulary) for song in songs.training]
    model = NgramModel(training, len(run.vocabulary), 3)
    (song,) = (known_ids(song, run.vocabulary) for song in songs.held_out)
    (scored,) = network_bits(run, [song])
    expected = -np.log2(model.probabilities(song)[3, scored.positions]).mean()
    assert found.held_out is not None
    assert found.held_out.models["3-gram"]["token"].value == pytest.approx(expected)
    gain = found.held_out.gain["token"].value
    network = found.held_out.models["network"]["token"].value
    best = min(
        each["token"].value for name, each in found.held_out.models.items() if name != "network"
    )
    assert gain == pytest.approx(best - network)


def test_pieces_and_songs_are_compared(run: Run, found: Evaluation) -> None:
    assert found.pieces == len(found.each_piece) == COUNT
    rhythm = run.vocabulary.scheme == "piano-roll"
    assert ("empty_beat_rate" in found.scalars) == rhythm
    assert ("onset_gaps" in found.histograms) == rhythm
    assert set(found.copying) == {"generated", "held_out"}
    assert set(found.failures) == {"generated", "held_out", "training"}
    assert bool(found.failures["generated"].similarity) == rhythm
    for scalar in found.scalars.values():
        assert scalar.training_low <= scalar.training <= scalar.training_high
    assert any("trained too little" in line for line in found.warnings)


def test_the_tables_have_all_four_parts(found: Evaluation) -> None:
    text = "\n".join(report_lines(found))
    for words in (
        "1. Likelihood", "2. Music", "3. Copying", "4. Failure", "network", "uniform", "unigram",
        "3-gram", "5-gram", "best n-gram - network", "pitch entropy", "runs of 8", "stuck",
        *found.warnings,
    ):  # fmt: skip
        assert words in text
    assert ("no rhythm" in text) == (found.scheme == "classic")
    assert all(len(line) < 120 for line in text.splitlines() if line not in found.warnings)


def test_without_held_out_songs_the_training_songs_are_all_there_is(
    run: Run, songs: RunSongs
) -> None:
    found = evaluate_run(run, RunSongs(songs.training, []), count=1, length=20)
    assert found.held_out is None and found.training is not None
    assert set(found.training.models) == {"network"}
    assert set(found.copying) == {"generated"}
    text = "\n".join(report_lines(found))
    assert "training songs" in text and "nan" not in text


def test_the_command_prints_tables_and_writes_json(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"evaluate.py {run.path} --count 2 --length 20 --json found.json"
    ended = run_here(tmp_path, command, monkeypatch=monkeypatch, capsys=capsys)
    assert ended.code == 0, ended.words
    assert "4. Failure" in ended.words and "trained too little" in ended.words
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["pieces"] == 2
    assert document["held_out"]["models"]["network"]["token"]["value"] > 0
    assert len(document["each_piece"]) == 2


def test_generating_says_that_the_run_is_undertrained(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"generate.py {run.path} --length 20 --out a.mid"
    ended = run_here(tmp_path, command, monkeypatch=monkeypatch, capsys=capsys)
    assert ended.code == 0, ended.words
    assert "trained too little" in ended.errors
