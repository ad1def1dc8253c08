"""Dropout masks: their shapes, rates, and what they depend on."""

import jax
import numpy as np
import pytest

from jaxmusic.config import ModelConfig
from jaxmusic.nn.dropout import Masks, draw_masks

ALL = ModelConfig(
    input="embedding", embedding_size=6, hidden_size=20, layers=3, dense_size=0, objective="every",
    dropout=0.1, recurrent_dropout=0.2, recurrent_dropout_last=True, token_dropout=0.3,
    input_dropout=0.4, layer_dropout=0.5, output_dropout=0.6, weight_drop=0.7,
)  # fmt: skip


def drawn(config: ModelConfig, batch: int = 500, window: int = 7) -> Masks:
    return draw_masks(config, jax.random.key(3), batch, window)


def by_name(masks: Masks) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(masks)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.slow
def test_every_mask_has_its_shape_and_rate() -> None:
    shapes: dict[str, tuple[tuple[int, ...], float]]
    shapes = {".output": ((500, 7, 20), 0.1), ".tokens": ((500, 7, 1), 0.3)}
    shapes |= {f".recurrent[{layer}]": ((500, 4, 20), 0.2) for layer in range(3)}
    shapes |= {".inputs[0]": ((500, 6), 0.4), ".lstm_output": ((500, 20), 0.6)}
    shapes |= {f".inputs[{layer}]": ((500, 20), 0.5) for layer in (1, 2)}
    shapes |= {f".recurrent_kernels[{layer}]": ((20, 80), 0.7) for layer in range(3)}
    found = by_name(drawn(ALL))
    assert set(found) == set(shapes)
    for name, (shape, rate) in shapes.items():
        assert found[name].shape == shape
        np.testing.assert_allclose(np.unique(found[name]), [0, 1 / (1 - rate)], rtol=1e-6)
        assert (found[name] == 0).mean() == pytest.approx(rate, abs=0.05), name
    # They are independent: no two of one shape are equal in more places than chance has it.
    pairs = [(".inputs[1]", ".inputs[2]"), (".recurrent_kernels[0]", ".recurrent_kernels[1]")]
    for left, right in pairs:
        share = (found[left] == 0).mean()
        both = ((found[left] == 0) & (found[right] == 0)).mean()
        assert both == pytest.approx(share**2, abs=0.05)


@pytest.mark.slow
def test_without_the_options_there_are_the_notebooks_masks_alone() -> None:
    """Drawn as before the options were there, bit for bit."""
    config = ModelConfig(hidden_size=8, dense_size=5, layers=2)
    masks = drawn(config, 4)
    assert set(by_name(masks)) == {".recurrent[0]", ".dense", ".output"}
    key_dense, key_output, key, _ = jax.random.split(jax.random.key(3), 4)
    for mask, own_key, shape in [
        (masks.recurrent[0], key, (4, 4, 8)),
        (masks.dense, key_dense, (4, 8)),
        (masks.output, key_output, (4, 5)),
    ]:
        kept = jax.random.bernoulli(own_key, 0.7, shape)
        np.testing.assert_array_equal(mask, np.where(kept, np.float32(1 / 0.7), 0))
    others = drawn(ModelConfig(hidden_size=8, dense_size=5, layers=2, weight_drop=0.5), 4)
    np.testing.assert_array_equal(masks.recurrent[0], others.recurrent[0])


@pytest.mark.slow
def test_a_rows_masks_do_not_depend_on_the_batch_size() -> None:
    many, few = by_name(drawn(ALL, 12)), by_name(drawn(ALL, 5))
    for name, mask in few.items():
        whole = many[name]
        np.testing.assert_array_equal(whole if "kernels" in name else whole[:5], mask)
