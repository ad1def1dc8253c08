"""Runs that are worth sampling, and those that are not yet."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.config import Config
from jaxmusic.evaluation.undertrained import frequency_entropy, why_undertrained
from jaxmusic.run import Run
from jaxmusic.tokenizers.vocabulary import Vocabulary

PRIMERS = np.random.default_rng(0).integers(0, 4, (200, 50))


def make_run(path: Path, rows: list[dict[str, float]], *, primers: np.ndarray = PRIMERS) -> Run:
    lines = [json.dumps(row) for row in rows]
    (path / "metrics.jsonl").write_text("\n".join([*lines[:1], "damaged", *lines[1:]]) + "\n")
    vocabulary = Vocabulary.of(["A4", "B4", "C4", "D4"])
    return Run(path, Config(), vocabulary, 20, {}, {}, primers)


def test_of_equally_frequent_tokens_the_entropy_is_that_of_all(tmp_path: Path) -> None:
    assert frequency_entropy(make_run(tmp_path, [])) == pytest.approx(np.log(4), abs=1e-3)


def test_the_kind_of_the_token_before_is_known(tmp_path: Path) -> None:
    """Keys and steps in turn: only which of two keys it is is open."""
    primers = np.zeros((100, 40), np.int64)
    primers[:, ::2] = np.random.default_rng(1).integers(0, 2, (100, 20))
    primers[:, 1::2] = 2
    vocabulary = Vocabulary.of(["p60", "p64", "step"], "piano-roll")
    run = Run(tmp_path, Config(), vocabulary, 20, {}, {}, primers)
    assert frequency_entropy(run) == pytest.approx(19 / 39 * np.log(2), abs=2e-3)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"step": 20, "epoch_loss": 1.3}], None),
        ([{"step": 20, "epoch_loss": 1.5}, {"step": 30, "epoch_loss": 0.1}], "1.50 nats"),
        # The checkpoint is not at the end of an epoch: the latest steps before it count.
        ([{"step": 10, "epoch_loss": 1.5}, {"step": 20, "loss": 0.9}], None),
        ([{"step": 10, "loss": 2}, {"step": 20, "loss": 4}, {"step": 30, "loss": 0}], "3.00 nats"),
        ([], None),
    ],
)
def test_the_training_loss_is_compared(
    tmp_path: Path, rows: list[dict[str, float]], told: str | None
) -> None:
    found = why_undertrained(make_run(tmp_path, rows))
    if told is None:
        assert found is None
    else:
        assert found is not None and told in found and "Train it further" in found


def test_without_metrics_nothing_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, [{"step": 20, "epoch_loss": 9}])
    (tmp_path / "metrics.jsonl").unlink()
    assert why_undertrained(run) is None
