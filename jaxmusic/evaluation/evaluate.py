"""Evaluates a run: likelihood of songs, and its own music beside theirs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxmusic.evaluation.likelihood.network import (
    KindBits,
    Likelihood,
    TokenBits,
    count_units,
    estimate,
    network_bits,
)
from jaxmusic.evaluation.likelihood.ngrams import NgramModel
from jaxmusic.evaluation.music.comparison import (
    CopyingSummary,
    FailureSummary,
    HistogramComparison,
    PieceSets,
    ScalarComparison,
    compare_histograms,
    compare_scalars,
    percentile,
    summarize_copying,
    summarize_failures,
)
from jaxmusic.evaluation.music.failures import find_failures
from jaxmusic.evaluation.music.notes import NoteArray, cut_excerpts
from jaxmusic.evaluation.songs import (
    RunSongs,
    Song,
    has_times,
    in_training_keys,
    known_ids,
    token_kinds,
)
from jaxmusic.evaluation.warnings import collect_warnings
from jaxmusic.run import Run
from jaxmusic.sampling.choice import SamplingConfig
from jaxmusic.sampling.generate import generate

ORDERS = (1, 3, 5, 8)  # of the n-gram baselines
UNITS = ("token", "note", "quarter", "second")
SECONDS_PER_QUARTER = 0.5  # at 120 quarters a minute, as tokens have no tempo
MOST_EXCERPTS = 400  # of the songs of a set, evenly chosen

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """All that evaluating a run finds."""

    run: str
    step: int
    scheme: str
    objective: str
    training_songs: int
    held_out_songs: int
    pieces: int
    notes_a_piece: int  # median; songs are cut into excerpts of as many
    warnings: list[str]
    held_out: Likelihood | None
    training: Likelihood | None
    scalars: dict[str, ScalarComparison]
    histograms: dict[str, HistogramComparison]
    copying: dict[str, CopyingSummary]  # of generated pieces and held-out songs
    failures: dict[str, FailureSummary]
    each_piece: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def evaluate_run(
    run: Run,
    songs: RunSongs,
    *,
    count: int = 50,
    length: int = 500,
    seed: int = 0,
    sampling: SamplingConfig | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Evaluate a run on its songs, and on `count` pieces of up to `length` tokens.

    Raises ConfigError for settings of sampling that are out of range.
    """
    log(f"Generating {count:,} pieces of {length:,} tokens.")
    tokens = generate(run, length=length, count=count, seed=seed, sampling=sampling)
    pieces = [
        Song(f"piece {number}", piece, run.vocabulary.scheme)
        for number, piece in enumerate(tokens, 1)
    ]
    log(f"Predicting {len(songs.held_out):,} held-out songs and as many training songs.")
    held_out, training = evaluate_likelihood(run, songs)
    log("Comparing the pieces with the songs.")
    rhythm = has_times(run.vocabulary)
    notes = int(max(2, percentile(np.array([len(piece.notes) for piece in pieces], float), 50)))
    sets = PieceSets(
        [piece.notes for piece in pieces],
        _excerpts(songs.held_out, notes),
        _excerpts(songs.training, notes),
    )
    training_notes = [song.notes for song in songs.training]
    copying, copies = summarize_copying(sets.generated, training_notes)
    failures = find_failures(sets.generated, [piece.tokens for piece in pieces], has_times=rhythm)
    by_set = {"generated": summarize_failures(sets.generated, failures, has_times=rhythm)}
    copying_by_set = {"generated": copying}
    for name, excerpts in (("held_out", sets.held_out), ("training", sets.training)):
        if excerpts:
            found = find_failures(excerpts, [[] for _ in excerpts], has_times=rhythm)
            by_set[name] = summarize_failures(excerpts, found, has_times=rhythm)
    if sets.held_out:
        copying_by_set["held_out"], _ = summarize_copying(sets.held_out, training_notes)
    scalars = compare_scalars(sets, has_times=rhythm)
    return Evaluation(
        run=str(run.path),
        step=run.step,
        scheme=run.vocabulary.scheme,
        objective=run.config.model.objective,
        training_songs=len(songs.training),
        held_out_songs=len(songs.held_out),
        pieces=len(pieces),
        notes_a_piece=notes,
        warnings=collect_warnings(
            run, held_out=held_out, scalars=scalars, copying=copying_by_set, failures=by_set
        ),
        held_out=held_out,
        training=training,
        scalars=scalars,
        histograms=compare_histograms(sets, has_times=rhythm),
        copying=copying_by_set,
        failures=by_set,
        each_piece=[
            {
                "notes": len(piece.notes),
                "copied_run": copy.longest,
                "copied_from": None if copy.song is None else songs.training[copy.song].name,
                **asdict(failure),
            }
            for piece, copy, failure in zip(pieces, copies, failures, strict=True)
        ],
    )


def evaluate_likelihood(run: Run, songs: RunSongs) -> tuple[Likelihood | None, Likelihood | None]:
    """The likelihood of the held-out songs, and of as many training songs (by the network alone).

    None where no song has a token that can be predicted.
    """
    model = None
    if songs.held_out:
        known = [known_ids(song, run.vocabulary) for song in songs.training]
        model = NgramModel(in_training_keys(known, run), len(run.vocabulary), max(ORDERS))
    count = min(len(songs.held_out) or len(songs.training), len(songs.training))
    some = [songs.training[index] for index in _evenly(len(songs.training), count)]
    return _likelihood(run, songs.held_out, model), _likelihood(run, some, None)


def _likelihood(run: Run, songs: Sequence[Song], ngrams: NgramModel | None) -> Likelihood | None:
    ids = [known_ids(song, run.vocabulary) for song in songs]
    scored = network_bits(run, ids)
    kept = [index for index, each in enumerate(scored) if len(each.bits)]
    if not kept:
        return None
    left_out = sum(len(song.tokens) - len(own) for song, own in zip(songs, ids, strict=True))
    songs = [songs[index] for index in kept]
    ids, scored = [ids[index] for index in kept], [scored[index] for index in kept]
    counts: dict[str, Sequence[float]] = {"note": [len(song.notes) for song in songs]}
    if has_times(run.vocabulary):
        counts["quarter"] = [song.notes.end for song in songs]
        counts["second"] = [song.notes.end * SECONDS_PER_QUARTER for song in songs]
    units = count_units(scored, [len(own) for own in ids], counts)
    totals = {"network": np.array([each.bits.sum() for each in scored])}
    if ngrams is not None:
        by_order = [_ngram_bits(ngrams, own, each) for own, each in zip(ids, scored, strict=True)]
        table = np.array(by_order)  # (songs, orders)
        totals["uniform"] = table[:, 0]
        for order in ORDERS:
            totals["unigram" if order == 1 else f"{order}-gram"] = table[:, order]
    models = {
        name: {unit: estimate(each, number) for unit, number in units.items()}
        for name, each in totals.items()
    }
    gain = {}
    if ngrams is not None:
        best = min(
            (name for name in models if name != "network"),
            key=lambda name: models[name]["token"].value,
        )
        gain = {
            unit: estimate(totals[best] - totals["network"], number)
            for unit, number in units.items()
        }
    return Likelihood(
        songs=len(songs),
        tokens=int(units["token"].sum()),
        left_out=left_out,
        models=models,
        kinds=_by_kind(run, ids, scored, float(units["note"].sum())),
        gain=gain,
    )


def _ngram_bits(model: NgramModel, ids: Ints, scored: TokenBits) -> npt.NDArray[np.float64]:
    """Bits of a song's scored tokens by the order of the model: (orders + 1,)."""
    probabilities = model.probabilities(ids)[:, scored.positions]
    bits: npt.NDArray[np.float64] = -np.log2(probabilities).sum(axis=1)
    return bits


def _by_kind(
    run: Run, ids: Sequence[Ints], scored: Sequence[TokenBits], notes: float
) -> dict[str, KindBits]:
    kinds = np.array(token_kinds(run.vocabulary))
    of_token = np.concatenate(
        [kinds[own[each.positions]] for own, each in zip(ids, scored, strict=True)]
    )
    bits = np.concatenate([each.bits for each in scored])
    found = {}
    for kind in sorted(set(of_token.tolist())):
        of_kind = bits[of_token == kind]
        total = float(of_kind.sum())
        found[kind] = KindBits(len(of_kind), total / len(of_kind), total / notes if notes else 0.0)
    return found


def _excerpts(songs: Sequence[Song], notes: int) -> list[NoteArray]:
    """Excerpts of so many notes of songs, so that they compare with pieces of that length."""
    found = [each for song in songs for each in cut_excerpts(song.notes, notes) if len(each)]
    return [found[index] for index in _evenly(len(found), min(MOST_EXCERPTS, len(found)))]


def _evenly(size: int, count: int) -> list[int]:
    """`count` of the indices below `size`, evenly spaced."""
    return [index * size // count for index in range(count)]
