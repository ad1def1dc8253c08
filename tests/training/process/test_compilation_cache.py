"""XLA's programs in our cache: used again, and made again when they are damaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import jax, jax.numpy as jnp
from jaxmusic.training.process.compilation_cache import use_compilation_cache
use_compilation_cache()
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.split("/")[-1]))
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.eye(3))[0, 0], hits.count("cache_hits"))
"""


def run(cache_home: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {
        "XDG_CACHE_HOME": str(cache_home), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    return ran.stdout.strip()


@pytest.mark.slow
def test_damaged_programs_are_made_again(tmp_path: Path) -> None:
    assert run(tmp_path) == "0.84147096 0"
    folder = tmp_path / "jaxmusic" / "xla"
    entries = {path: path.read_bytes() for path in folder.iterdir()}
    assert entries
    again = run(tmp_path)
    assert again == f"0.84147096 {len(entries)}"
    for number, (path, whole) in enumerate(entries.items()):
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes([whole[:middle], flipped, bytes(len(whole))][number % 3])
    assert run(tmp_path) == "0.84147096 0"
    assert run(tmp_path) == again
    assert set(folder.iterdir()) == set(entries)
