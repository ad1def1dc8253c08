"""JAX's settings: those that change numbers or types keep JAX's defaults while we run.

They come from the environment (JAX_ENABLE_X64=1) or from the program that calls ours. A setting in
`jax.config.values` is of one of four kinds:

- PINNED: it changes numbers or types, or fails on what our programs do on purpose. It is set aside
  while they run, in this thread alone, and holds again afterwards.
- RECORDED: it changes how XLA compiles, and with that perhaps the last bits. It can't be set aside
  for a while; so processes are compared in it, and a run keeps it in its environment.json.
- It chooses devices or how processes communicate: processes are compared in their devices, and a
  run records them.
- It changes printing, checking, caching or waiting, but no number: left alone.
"""

import enum
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax

PINNED: dict[str, Any] = {
    # Types and numbers.
    "jax_enable_x64": False,  # other types: a checkpoint would not fit
    "jax_explicit_x64_dtypes": "warn",  # "error" and "allow" belong to the one above
    "jax_numpy_dtype_promotion": "standard",  # "strict" refuses int32 * float32
    "jax_numpy_rank_promotion": "allow",  # "raise" refuses to add a bias to a batch
    "jax_default_matmul_precision": None,  # --precision says it
    "jax_allow_f16_reductions": True,
    "jax_softmax_custom_jvp": False,  # another gradient, in its last bits
    # Random numbers: weights, dropout, sampling.
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    # For debugging: they fail where nothing is wrong, or compute otherwise than jit.
    "jax_debug_nans": False,  # we detect and log a step that is not finite
    "jax_debug_infs": False,  # logits of forbidden tokens are -inf
    "jax_debug_key_reuse": False,  # all keys are folded from one
    "jax_error_checking_behavior_nan": "ignore",  # "raise" fails under vmap
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}

RECORDED = (
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_compiler_enable_remat_pass",
    "jax_use_shardy_partitioner",
    "jax_use_direct_linearize",
    "jax_enable_pgle",
    "jax_cpu_collectives_implementation",
    "jax_threefry_gpu_kernel_lowering",
    "jax_pallas_use_mosaic_gpu",
    "jax_xla_profile_version",
)
RECORDED_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
# Of these variables, what changes no number, or is recorded as the number of devices.
UNRECORDED_FLAGS = ("--xla_dump", "--xla_force_host_platform_device_count", "--xla_hlo_profile")


@contextmanager
def pinned_settings() -> Iterator[list[str]]:
    """Inside, and in this thread, the settings in PINNED are JAX's defaults.

    Gives those that weren't, as NAME=VALUE.
    """
    with ExitStack() as stack:
        set_aside = []
        for name, default in PINNED.items():
            value = jax.config.values.get(name)  # None: JAX's default, or unknown to this JAX
            if value is None or _plain(value) == default:
                continue
            set_aside.append(f"{name}={_plain(value)}")
            # (Not all of them have a public context manager.)
            stack.enter_context(jax.config._value_holders[name](default))  # type: ignore[operator]
        yield set_aside


def compile_settings() -> dict[str, str]:
    """The settings in RECORDED and RECORDED_VARIABLES that are there, by their names."""
    settings = {
        name: str(_plain(jax.config.values[name])) for name in RECORDED if name in jax.config.values
    }
    for name in RECORDED_VARIABLES:
        flags = os.environ.get(name, "").split()
        settings[name] = " ".join(flag for flag in flags if not flag.startswith(UNRECORDED_FLAGS))
    return settings


def _plain(value: Any) -> Any:
    """Enumerations as their words, which JAX takes too."""
    return value.name.lower() if isinstance(value, enum.Enum) else value
