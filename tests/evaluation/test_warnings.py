"""Runs that are worth sampling, and those that are not yet."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxmusic.config import Config
from jaxmusic.evaluation.likelihood.network import Estimate, Likelihood
from jaxmusic.evaluation.music.comparison import CopyingSummary, FailureSummary, ScalarComparison
from jaxmusic.evaluation.warnings import collect_warnings, frequency_entropy, why_undertrained
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


def songs(**changes: float) -> FailureSummary:
    found = FailureSummary(
        pieces=50, stuck=0, median_repeat=9, longest_repeat=20, long_repeats=0.2,
        longest_pitch_run=4, similarity={},
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def shares(longest: int, share: float) -> CopyingSummary:
    return CopyingSummary(5, longest, {"8": 0.5, "16": share, "32": 0})


def scalar(inside: float) -> ScalarComparison:
    return ScalarComparison(1, 1, 1, 0, 2, inside, 0.9, 0.5, 0.9)


def collected(
    path: Path,
    *,
    gain: float = 0.5,
    generated: FailureSummary | None = None,
    copying: CopyingSummary | None = None,
    inside: float = 0.9,
) -> str:
    gains = {"token": Estimate(gain, np.nan, np.nan)}
    return "\n".join(
        collect_warnings(
            make_run(path, [{"step": 20, "epoch_loss": 1}]),
            held_out=Likelihood(1, 100, 0, {}, {}, gains),
            scalars={"mean_length": scalar(inside), "pitch_entropy": scalar(0.9)},
            copying={"generated": copying or shares(15, 0), "held_out": shares(20, 0.01)},
            failures={"generated": generated or songs(), "held_out": songs()},
        )
    )


def test_nothing_is_wrong_with_good_music(tmp_path: Path) -> None:
    assert collected(tmp_path) == ""


def test_each_thing_that_is_wrong_has_a_sentence(tmp_path: Path) -> None:
    assert "not better than an n-gram" in collected(tmp_path, gain=-0.1)
    assert "3 of 50 pieces are stuck" in collected(tmp_path, generated=songs(stuck=3))
    assert "30% of the pieces repeat more than 16 notes, against 20%" in collected(
        tmp_path, generated=songs(long_repeats=0.3)
    )
    copied = collected(tmp_path, copying=shares(40, 0.3))
    assert "30% of their runs of 16 notes, against 1%, and up to 40 notes" in copied
    assert "outside the range" in collected(tmp_path, inside=0.4)
    assert "note length" in collected(tmp_path, inside=0.4)
