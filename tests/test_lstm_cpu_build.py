"""Building the CPU kernel, and words for machines where that can't be done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmusic.lstm_cpu_build import why_unavailable

ASK = "from jaxmusic.lstm_cpu_build import why_unavailable; print(why_unavailable())"
TRAIN_ONE = """
import jax.numpy as jnp
from jaxmusic.lstm import run_lstm
print(run_lstm(jnp.ones((32, 20, 3)), jnp.ones((3, 8)), jnp.ones((2, 8)), jnp.ones(8))[0].shape)
"""


def answer(tmp_path: Path, program: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def compiler(tmp_path: Path, *lines: str) -> str:
    script = tmp_path / "fake-c++"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return str(script)


def test_without_a_compiler_the_scan_computes(tmp_path: Path) -> None:
    program = ASK + TRAIN_ONE
    told = answer(tmp_path, program, PATH=str(tmp_path), CXX="")
    assert told.splitlines() == [
        "no C++ compiler (c++, g++ or clang++) is installed",
        "(32, 20, 2)",
    ]


def test_a_compiler_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    cxx = compiler(tmp_path, "echo 'lstm_cpu.cc:1: error: too old' >&2", "exit $(($# > 1))")
    told = answer(tmp_path, ASK + TRAIN_ONE, CXX=cxx)
    assert told.splitlines() == [
        f"{cxx} can't compile it: lstm_cpu.cc:1: error: too old",
        "(32, 20, 2)",
    ]


def test_a_compiler_that_is_not_there_is_named(tmp_path: Path) -> None:
    told = answer(tmp_path, ASK, CXX="/no/such/compiler")
    assert told.startswith("it can't be compiled with /no/such/compiler, or loaded: ")


def test_what_it_makes_must_be_a_library(tmp_path: Path) -> None:
    cxx = compiler(tmp_path, 'for last; do :; done; [ $# = 1 ] || echo nothing > "$last"')
    assert "or loaded: " in answer(tmp_path, ASK, CXX=cxx)


@pytest.mark.skipif(why_unavailable() is not None, reason=f"{why_unavailable()}")
def test_it_is_compiled_once(tmp_path: Path) -> None:
    real = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    cxx = compiler(tmp_path, f'exec {real} "$@" -O0')  # sooner done
    assert answer(tmp_path, ASK, CXX=cxx) == "None"
    (built,) = (tmp_path / "jaxmusic" / "lstm").iterdir()
    assert built.parent.stat().st_mode & 0o077 == 0  # it is run: nobody else may write there
    before = built.stat()
    assert answer(tmp_path, ASK, CXX=cxx) == "None"
    assert list(built.parent.iterdir()) == [built]
    assert built.stat().st_mtime_ns == before.st_mtime_ns
