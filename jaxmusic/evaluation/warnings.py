"""What is wrong with a run and its music, in sentences."""

from collections import Counter

import msgspec
import numpy as np

from jaxmusic.evaluation.likelihood.network import Likelihood
from jaxmusic.evaluation.music.comparison import (
    LONG_REPEAT,
    CopyingSummary,
    FailureSummary,
    ScalarComparison,
)
from jaxmusic.evaluation.music.statistics import SCALARS
from jaxmusic.run import Run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.storage.reading import Count, parse_json, read_lines
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE

COPIED = "16"  # notes of the runs by which copying is judged
LATEST_ROWS = 10  # of metrics.jsonl, where no epoch has ended


class _Row(msgspec.Struct, frozen=True):
    step: Count
    loss: float | None = None  # of one step
    epoch_loss: float | None = None


def collect_warnings(
    run: Run,
    *,
    held_out: Likelihood | None,
    scalars: dict[str, ScalarComparison],
    copying: dict[str, CopyingSummary],
    failures: dict[str, FailureSummary],
) -> list[str]:
    """A sentence for each thing that is wrong, of an evaluation's figures."""
    found = [
        why_undertrained(run),
        _why_unlearned(held_out),
        _why_stuck(failures["generated"]),
        _why_copied(copying),
        _why_repetitive(failures),
        _why_unlike(scalars),
    ]
    return [each for each in found if each is not None]


def why_undertrained(run: Run) -> str | None:
    """A sentence when a run's network predicts no better than frequencies of tokens; else None.

    Compared are the training loss and the entropy of the run's primers, each token after the kind
    of the token before it: a network that has only learned the grammar of a scheme is not better
    than that. None also where metrics.jsonl has no loss.
    """
    loss = _training_loss(run)
    if loss is None:
        return None
    guessing = frequency_entropy(run)
    if loss < guessing:
        return None
    return (
        f"The run {run.path} has been trained too little for its music to be worth hearing: at "
        f"step {run.step:,} its training loss is {loss:.2f} nats a token, and by their frequencies "
        f"alone tokens are predicted with {guessing:.2f}. Train it further."
    )


def frequency_entropy(run: Run) -> float:
    """Entropy of a token given the kind of the one before it, in nats, over the run's primers."""
    tokenizer = get_tokenizer(run.vocabulary.scheme)
    tokens = run.vocabulary.tokens
    kinds = [RARE if token == RARE else tokenizer.kind(token) for token in tokens]
    numbers = {kind: number for number, kind in enumerate(sorted(set(kinds)))}
    kind_of = np.array([numbers[kind] for kind in kinds])
    ids = np.asarray(run.primers, np.int64)
    if ids.shape[1] < 2:
        return float(np.log(len(tokens)))
    before, after = kind_of[ids[:, :-1]].ravel(), ids[:, 1:].ravel()
    pairs = Counter((before * len(tokens) + after).tolist())
    counts = np.array(list(pairs.values()), np.float64)
    firsts = np.array(list(pairs), np.int64) // len(tokens)
    of_kind = np.bincount(firsts, weights=counts)[firsts]
    return float(-(counts * np.log(counts / of_kind)).sum() / counts.sum())


def _training_loss(run: Run) -> float | None:
    """That of the epoch which ended with the checkpoint, else the mean of the latest steps'."""
    losses: list[float] = []
    try:
        for line in read_lines(RunDir(run.path).metrics):
            try:
                row = parse_json(line, _Row)
            except ValueError:  # a damaged row says nothing
                continue
            if row.step == run.step and row.epoch_loss is not None:
                return row.epoch_loss
            if row.step <= run.step and row.loss is not None:
                losses.append(row.loss)
    except (OSError, ValueError):
        return None
    return float(np.mean(losses[-LATEST_ROWS:])) if losses else None


def _why_unlearned(held_out: Likelihood | None) -> str | None:
    if held_out is None or not held_out.gain or held_out.gain["token"].value > 0:
        return None
    return (
        "On held-out songs the network is not better than an n-gram model: train it further, or on "
        "more music."
    )


def _why_stuck(failures: FailureSummary) -> str | None:
    if not failures.stuck:
        return None
    return (
        f"{failures.stuck:,} of {failures.pieces:,} pieces are stuck to one pitch or token: try a "
        "higher --temperature, or train further."
    )


def _why_copied(copying: dict[str, CopyingSummary]) -> str | None:
    if "held_out" not in copying:
        return None
    own, theirs = copying["generated"], copying["held_out"]
    if own.shares[COPIED] <= theirs.shares[COPIED] or own.longest <= theirs.longest:
        return None
    return (
        f"The pieces copy more from the training songs than held-out songs do: "
        f"{own.shares[COPIED]:.0%} of their runs of {COPIED} notes, against "
        f"{theirs.shares[COPIED]:.0%}, and up to {own.longest:,} notes in a row."
    )


def _why_repetitive(failures: dict[str, FailureSummary]) -> str | None:
    own, theirs = failures["generated"], failures.get("held_out", failures.get("training"))
    if theirs is None or own.long_repeats <= theirs.long_repeats:
        return None
    return (
        f"{own.long_repeats:.0%} of the pieces repeat more than {LONG_REPEAT} notes, against "
        f"{theirs.long_repeats:.0%} of the songs: try a higher --temperature."
    )


def _why_unlike(scalars: dict[str, ScalarComparison]) -> str | None:
    outside = [SCALARS[name].words for name, each in scalars.items() if each.generated_inside < 0.5]
    if not outside:
        return None
    return (
        "Most pieces are outside the range of 5 - 95 % of the training songs in "
        f"{'; '.join(outside)}."
    )
