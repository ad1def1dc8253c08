"""Building the CPU kernel, and words for machines where that can't be done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from jaxmusic.nn.cpu import build as lstm_cpu_build
from jaxmusic.nn.cpu.build import why_unavailable

ASK = "from jaxmusic.nn.cpu.build import why_unavailable; print(why_unavailable())"
TRAIN_ONE = """
import jax.numpy as jnp
from jaxmusic.nn.lstm import run_lstm
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
    output = answer(tmp_path, program, PATH=str(tmp_path), CXX="")
    assert output.splitlines() == [
        "no C++ compiler (c++, g++ or clang++) is installed",
        "(32, 20, 2)",
    ]


def test_a_compiler_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    cxx = compiler(tmp_path, "echo 'lstm.cc:1: error: too old' >&2", "exit $(($# > 1))")
    output = answer(tmp_path, ASK + TRAIN_ONE, CXX=cxx)
    assert output.splitlines() == [
        f"{cxx} can't compile it: lstm.cc:1: error: too old",
        "(32, 20, 2)",
    ]


def test_a_compiler_that_is_not_there_is_named(tmp_path: Path) -> None:
    output = answer(tmp_path, ASK, CXX="/no/such/compiler")
    assert output.startswith("it can't be compiled with /no/such/compiler, or loaded: ")


def test_what_it_makes_must_be_a_library(tmp_path: Path) -> None:
    cxx = compiler(tmp_path, 'for last; do :; done; [ $# = 1 ] || echo nothing > "$last"')
    assert "or loaded: " in answer(tmp_path, ASK, CXX=cxx)


RUN = (
    ASK
    + """
import numpy as np
from jax import numpy as jnp
from jaxmusic.nn.lstm import run_lstm
x = np.random.default_rng(0).normal(size=(32, 20, 3)).astype("f")
for recurrence in ("cpu", "scan"):
    h, _ = run_lstm(x, jnp.ones((3, 8)), jnp.ones((2, 8)), jnp.ones(8), recurrence=recurrence)
    print(np.round(float(h.sum()), 3))
"""
)


class Built(NamedTuple):
    """A library, and a compiler that just copies it and counts how often it is called."""

    compiler: str
    calls: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if (reason := why_unavailable()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("built")
    real = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")))
    slow = compiler(folder, f'exec {real} "$@" -O0 -o {folder}/library.so')  # sooner done
    sources = Path(lstm_cpu_build.__file__).parent
    include = f"-isystem{jax.ffi.include_dir()}"
    command = [slow, *lstm_cpu_build.OPTIONS, include, str(sources / lstm_cpu_build.MAIN_SOURCE)]
    subprocess.run([*command, "-march=native"], check=True)
    calls = folder / "calls"
    copies = compiler(
        folder,
        f"[ $# = 1 ] && exec {real} --version",
        f'for last; do :; done; echo "$TMPDIR" >> {calls}; exec cp {folder}/library.so "$last"',
    )
    return Built(copies, calls)


@pytest.mark.slow
def test_it_is_compiled_once(tmp_path: Path, built: Built) -> None:
    assert answer(tmp_path, ASK, CXX=built.compiler) == "None"
    (entry,) = (tmp_path / "jaxmusic" / "lstm").iterdir()
    assert entry.parent.stat().st_mode & 0o077 == 0  # it is run: nobody else may write there
    before = entry.stat()
    assert answer(tmp_path, ASK, CXX=built.compiler) == "None"
    assert list(entry.parent.iterdir()) == [entry]
    assert entry.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.slow
def test_a_damaged_one_is_compiled_again(tmp_path: Path, built: Built) -> None:
    output = answer(tmp_path, RUN, CXX=built.compiler).split()
    assert output[0] == "None" and output[1] == output[2]
    (entry,) = (tmp_path / "jaxmusic" / "lstm").iterdir()
    whole, calls = entry.read_bytes(), len(built.calls.read_text().splitlines())
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (whole[:middle], flipped, whole[:middle] + bytes(middle)):
        entry.write_bytes(damaged)
        assert answer(tmp_path, RUN, CXX=built.compiler).split() == output
        assert entry.read_bytes() == whole
    assert len(built.calls.read_text().splitlines()) == calls + 3


@pytest.mark.skipif(sys.platform == "win32", reason="modes are Unix's")
def test_where_others_may_write_it_is_compiled_for_this_start_alone(
    tmp_path: Path, built: Built
) -> None:
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    for folder in (cache, temporary):
        folder.mkdir()
    cache.chmod(0o777)
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        env={
            **os.environ, "CXX": built.compiler, "XDG_CACHE_HOME": str(cache),
            "TMPDIR": str(temporary),
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "None\n"
    assert ran.stderr == (
        f"Compiled programs aren't kept for the next start: other users may write to {cache}. "
        "Name a folder that only you can write to with XDG_CACHE_HOME.\n"
    )
    assert built.calls.read_text().splitlines()[-1].startswith(f"{temporary}/jaxmusic-")
    assert list(temporary.iterdir()) == []
    assert list((cache / "jaxmusic").iterdir()) == []


def test_a_file_serves_where_memory_can_not_be_loaded_from(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> int:
        raise OSError(name)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if sys.platform == "linux":
        monkeypatch.setattr(os, "memfd_create", refused)
    content = Path(built.compiler).with_name("library.so").read_bytes()
    library = lstm_cpu_build._loaded(content)
    assert all(getattr(library, name) for name in lstm_cpu_build.TARGETS)
    assert list(tmp_path.iterdir()) == []
