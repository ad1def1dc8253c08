"""For all tests: programs compiled once a session, warnings of ours as errors."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import jax
import pytest
from helpers.midi_notes import Reader
from helpers.paths import TESTS
from helpers.raise_sites import assert_reached, record_errors

from jaxmusic.midi.reader import read_midi
from jaxmusic.midi.types import MidiScore

# The oracle of the network; read when keras is first imported, so before any test file.
os.environ["KERAS_BACKEND"] = "jax"

# A script that starts the tests in the background (`&`) has Ctrl-C ignored by all that they start,
# unless it is handled here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs that several tests (and the processes they start) need are compiled once."""
    folder = str(tmp_path_factory.mktemp("xla"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for processes and for locks."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) + 1
    return (os.cpu_count() or 1) + 1


SLOW_FOLDERS = ("benchmarks", "compilers", "dev", "end_to_end")


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that runs whole commands, processes or compilers is slow."""
    folders = [TESTS / name for name in SLOW_FOLDERS]
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in folders):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A test marked `raises_at("file:function", "words")` fails unless it reaches that raise."""
    marks = list(item.iter_markers("raises_at"))
    if not marks:
        yield
        return
    with record_errors() as raised:
        yield
    for mark in marks:
        assert_reached(raised, *mark.args)


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """What the reader makes of the bytes of a MIDI file."""

    def read_bytes(data: bytes) -> MidiScore:
        path = tmp_path / "file.mid"
        path.write_bytes(data)
        return read_midi(path)

    return read_bytes
