"""Held-out evaluation: the values of its metrics, by NumPy from the logits alone."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.small_runs import changed, rows_of, small_config, small_corpus

from jaxmusic.config import Config, DataConfig, ModelConfig, Objective, TrainConfig
from jaxmusic.data.batch import Batch
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.distributed.mesh import make_mesh, replicate
from jaxmusic.evaluation import metrics
from jaxmusic.evaluation.held_out import HeldOutEvaluator, eval_step
from jaxmusic.tokenizers.vocabulary import Vocabulary
from jaxmusic.trainer import fit
from jaxmusic.training.state import TrainState, model_graphdef, new_state

VOCABULARY, WINDOW = 12, 6
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, size=60, dtype=np.uint16)
RANGES = [(0, 30), (35, 60)]  # two songs: 24 and 19 windows


def make_config(objective: Objective) -> Config:
    return Config(
        data=DataConfig(window=WINDOW),
        model=ModelConfig(hidden_size=8, dense_size=6, layers=2, objective=objective),
        train=TrainConfig(batch_size=8),  # 43 windows are 5 batches, and 3 rows of a sixth
    )


def make_state(config: Config) -> TrainState:
    """With batch statistics that differ from the initial ones, as evaluation uses them."""
    state = new_state(config, VOCABULARY)
    rng = np.random.default_rng(1)
    stats = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), state.batch_stats
    )
    return state._replace(batch_stats=stats)


def expected_loss(config: Config, state: TrainState) -> float:
    rows = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(TOKENS[a:b], WINDOW + 1) for a, b in RANGES]
    )
    model = nnx.merge(model_graphdef(config, VOCABULARY), state.params, state.batch_stats)
    logits = np.asarray(model(jnp.asarray(rows[:, :-1])), np.float64)
    targets = rows[:, 1:] if config.model.objective == "every" else rows[:, -1]
    chosen = np.take_along_axis(logits, targets[..., None].astype(int), axis=-1)[..., 0]
    return float((np.log(np.exp(logits).sum(axis=-1)) - chosen).mean())


def make_evaluator(config: Config) -> HeldOutEvaluator:
    windows = Windows(TOKENS, RANGES, WINDOW, objective=config.model.objective)
    vocabulary = Vocabulary.of([str(number) for number in range(VOCABULARY)], "classic")
    return HeldOutEvaluator(config, VOCABULARY, windows, TokenMap(vocabulary, None), make_mesh(1))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["last", "every"])
def test_the_loss_is_the_mean_over_all_windows(objective: Objective) -> None:
    config = make_config(objective)
    state = replicate(make_state(config), make_mesh(1))
    found = make_evaluator(config).evaluate(state, should_stop=lambda: False)
    assert found is not None and set(found) == {"held_out_loss"}
    assert found["held_out_loss"] == pytest.approx(expected_loss(config, state), rel=1e-6)


def test_averaged_weights_are_evaluated_where_there_are_some() -> None:
    config = make_config("every")
    state = make_state(config)
    averages = jax.tree.map(lambda leaf: 0.5 * leaf, state.params)
    found = make_evaluator(config).evaluate(
        replicate(state._replace(ema=averages), make_mesh(1)), should_stop=lambda: False
    )
    expected = expected_loss(config, state._replace(params=averages))
    assert found is not None and found["held_out_loss"] == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(expected_loss(config, state), rel=1e-4)


def test_evaluation_ends_when_asked_to_stop() -> None:
    config = make_config("last")
    state = replicate(make_state(config), make_mesh(1))
    answers = iter([False, False, True])
    assert make_evaluator(config).evaluate(state, should_stop=lambda: next(answers)) is None
    assert next(answers, "none left") == "none left"


def accuracy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    hits = (logits.argmax(axis=-1) == targets).astype(jnp.float32)
    return hits if hits.ndim == 1 else hits.mean(axis=1)


@pytest.mark.slow
def test_another_metric_is_an_entry_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value reaches metrics.jsonl, and the loss still ranks the checkpoints."""
    monkeypatch.setitem(metrics.METRICS, "held_out_accuracy", accuracy)
    config = small_config(small_corpus(tmp_path / "songs"), tmp_path / "run")
    config = changed(config, "data", held_out=0.3)
    run = fit(config)
    rows = [row for row in rows_of(config.run.run_dir) if "epoch_loss" in row]
    assert all(0 <= row["held_out_accuracy"] <= 1 for row in rows) and len(rows) == 2
    assert run.step == min(rows, key=lambda row: row["held_out_loss"])["step"]


@pytest.mark.slow
def test_rows_of_weight_zero_count_for_nothing() -> None:
    config = make_config("last")
    state = make_state(config)
    rows = np.lib.stride_tricks.sliding_window_view(TOKENS, WINDOW + 1)[:4]
    sums = [
        eval_step(
            state.params,
            state.batch_stats,
            Batch(rows[:, :-1], rows[:, -1], np.array(weights, np.float32)),
            graphdef=model_graphdef(config, VOCABULARY),
            metrics=("held_out_loss",),
        )["held_out_loss"]
        for weights in ([1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1])
    ]
    assert float(sums[0]) == pytest.approx(float(sums[1] + sums[2]), rel=1e-6)
    assert float(sums[1]) > 0
