"""Tells a run that has been trained too little from one that is worth sampling."""

from collections import Counter

import msgspec
import numpy as np

from jaxmusic.run import Run
from jaxmusic.run_dir.folder import RunDir
from jaxmusic.storage.reading import Count, parse_json, read_lines
from jaxmusic.tokenizers.tokenizer import get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE

LATEST_ROWS = 10  # of metrics.jsonl, where no epoch has ended


class _Row(msgspec.Struct, frozen=True):
    step: Count
    loss: float | None = None  # of one step
    epoch_loss: float | None = None


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
