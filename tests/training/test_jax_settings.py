"""Settings of JAX that come from elsewhere: what changes numbers is set aside, and comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from helpers.small_runs import assert_same_run, changed, small_config, small_corpus

from jaxmusic.config import Config
from jaxmusic.console import Console
from jaxmusic.run import Run, open_run
from jaxmusic.sampling.generate import generate
from jaxmusic.trainer import fit
from jaxmusic.training.jax_settings import PINNED, RECORDED, compile_settings, pinned_settings

pytestmark = pytest.mark.slow  # whole trainings

OTHER_VALUES: dict[str, Any] = {
    "jax_enable_x64": True,
    "jax_explicit_x64_dtypes": "error",
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_allow_f16_reductions": False,
    "jax_softmax_custom_jvp": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 5,
    "jax_high_dynamic_range_gumbel": True,
    "jax_enable_custom_prng": True,
    "jax_legacy_prng_key": "error",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_debug_key_reuse": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
    "jax_disable_jit": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("songs")
    return small_config(small_corpus(folder), folder / "run")


@contextmanager
def other_settings() -> Iterator[None]:
    before = {name: jax.config.values[name] for name in OTHER_VALUES}
    for name, value in OTHER_VALUES.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_jax_knows_all_of_them_and_has_these_defaults() -> None:
    assert PINNED.keys() == OTHER_VALUES.keys()
    assert set(RECORDED) <= jax.config.values.keys()
    with pinned_settings() as set_aside:
        assert set_aside == []


@pytest.mark.parametrize("name", PINNED)
def test_each_is_set_aside_and_comes_back(name: str) -> None:
    before = jax.config.values[name]
    jax.config.update(name, OTHER_VALUES[name])
    other = jax.config.values[name]
    try:
        with pinned_settings() as set_aside:
            inside = jax.config.values[name]
        assert set_aside == [f"{name}={OTHER_VALUES[name]}"]
        assert inside in (before, PINNED[name])
        assert jax.config.values[name] == other
    finally:
        jax.config.update(name, before)


def music(run: Run) -> list[list[str]]:
    return generate(run, length=12, count=2, seed=4)


def test_training_and_generating_are_the_same_under_all_of_them(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run under JAX's defaults, one begun under them and gone on with under other settings."""
    expected = music(fit(config))
    other = changed(config, "run", run_dir=str(tmp_path / "other"))
    fit(changed(other, "train", max_steps=5))
    with other_settings():
        assert music(fit(other, console=Console())) == expected
        assert music(open_run(str(config.run.run_dir))) == expected
    assert_same_run(config.run.run_dir, other.run.run_dir)
    output = capsys.readouterr().out
    assert "set aside while this trains: jax_enable_x64=True, " in output.replace("\n", " ")


def test_a_program_that_has_set_x64_may_train_and_keeps_it(config: Config, tmp_path: Path) -> None:
    config = changed(config, "run", run_dir=str(tmp_path / "run"))
    with jax.enable_x64(True):
        run = fit(changed(config, "train", max_steps=1))
        assert run.logits(run.primers[:2]).dtype == "float32"
        assert jnp.arange(2.0).dtype == "float64"


def test_settings_of_the_compiler_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x --xla_cpu_use_fusion_emitters=false")
    before = compile_settings()
    assert before["XLA_FLAGS"] == "--xla_cpu_use_fusion_emitters=false"
    monkeypatch.delenv("XLA_FLAGS")
    assert compile_settings() == before | {"XLA_FLAGS": ""}
