"""Disks that are full or can't be written to, and folders that vanish: whole runs."""

import errno
import functools
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from helpers.full_disk import no_file_longer_than
from helpers.midi_files import write_song
from helpers.small_runs import (
    TRAIN,
    assert_same_run,
    changed,
    command,
    rows_of,
    small_config,
    small_corpus,
)

from jaxmusic.config import Config
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import find_damage
from jaxmusic.errors import UserError
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run import open_run
from jaxmusic.run_dir.checkpoint import CheckpointError, Checkpoints
from jaxmusic.storage.atomic import WriteError
from jaxmusic.trainer import fit
from jaxmusic.training.reporting.metrics_file import MetricsFile

SCRIPTS = TRAIN.parent


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("songs"))


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> Config:
    return small_config(corpus, tmp_path / "run", epochs=5)


@functools.cache
def mounts() -> bool:
    """Whether a disk of our own can be mounted, for the processes of one shell alone."""
    try:
        words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def on_a_disk(disk: Path, kilobytes: int, lines: list[str]) -> list[str]:
    """Run lines of a shell with a disk mounted; what each has written, with its exit code."""
    if not mounts():
        pytest.skip("no disk can be mounted here (unshare -rm, tmpfs)")
    disk.mkdir()
    script = [f"mount -t tmpfs -o size={kilobytes}k none {disk} || exit 99"]
    for number, line in enumerate(lines):
        script.append(f'({line}) >{disk}.{number} 2>&1; echo "exit $?" >>{disk}.{number}')
    subprocess.run(["unshare", "-rm", "sh", "-c", "\n".join(script)], check=True, timeout=300)
    return [Path(f"{disk}.{number}").read_text() for number in range(len(lines))]


def error_of(output: str) -> str:
    """The one sentence of what failed with exit code 1 and without a traceback."""
    assert "Traceback" not in output and output.endswith("exit 1\n"), output
    (error,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    return error


def used_kilobytes(folder: Path) -> int:
    pages = [1 if path.is_dir() else -(-path.stat().st_size // 4096) for path in folder.rglob("*")]
    return 4 * sum(pages)


def test_a_run_whose_disk_is_full_goes_on_bit_for_bit_with_more_room(
    config: Config, tmp_path: Path
) -> None:
    """There is room for a checkpoint or two, not for three; their sizes on the disk vary."""
    whole = changed(config, "run", run_dir=str(tmp_path / "whole"))
    fit(whole)
    checkpoints = [used_kilobytes(path) for path in (tmp_path / "whole/checkpoints").iterdir()]
    beside = used_kilobytes(tmp_path / "whole") - sum(checkpoints)
    disk = tmp_path / "disk"
    train = shlex.join(command(changed(config, "run", run_dir=str(disk / "run"))))
    output = on_a_disk(
        disk,
        beside + max(checkpoints) + min(checkpoints) // 2,
        [
            train,
            f"cp -r {disk}/run {tmp_path}/kept",
            f"mount -o remount,size=64m {disk}",
            train,
            f"cp -r {disk}/run {tmp_path}/run",
        ],
    )
    error = error_of(output[0])
    assert error.startswith(f"Error: {disk}/run/")
    assert "can't be written: No space left on device." in error
    assert "make room and start the same command again." in error
    names = [path.name for path in (tmp_path / "kept" / "checkpoints").iterdir()]
    kept = sorted(int(name) for name in names if not name.startswith("."))
    assert kept in ([9], [9, 18])
    assert f"after step {kept[-1]}." in output[3] and output[3].endswith("exit 0\n")
    assert_same_run(whole.run.run_dir, tmp_path / "run")


def test_a_disk_that_is_read_only_is_told_at_the_start(config: Config, tmp_path: Path) -> None:
    disk, songs = tmp_path / "disk", Path(str(config.data.corpus)).parent
    fit(changed(config, "train", max_steps=1))
    python = shlex.quote(sys.executable)
    output = on_a_disk(
        disk,
        10_000,
        [
            f"cp -r {config.run.run_dir} {disk}/run && mount -o remount,ro {disk}",
            shlex.join(command(config, **{"run-dir": disk / "run"})),
            f"{python} {SCRIPTS}/prepare.py {songs} --corpus {disk}/corpus",
            f"{python} {SCRIPTS}/generate.py {disk}/run --length 3",
        ],
    )
    errors = [error_of(said) for said in output[1:]]
    assert all("can't be written: Read-only file system." in error for error in errors)
    named = ["disk/run/.lock", "disk/.corpus.lock", "run/samples/seed-0.mid"]
    assert all(name in error for name, error in zip(named, errors, strict=True))
    assert "compiling" not in output[1]


class Removing(Console):
    """Something is removed when the first epoch is logged."""

    def __init__(self, path: Path) -> None:
        super().__init__(silent=True)
        self.path = path

    def log(self, line: str) -> None:
        if line.startswith("epoch 1:"):
            shutil.rmtree(self.path) if self.path.is_dir() else self.path.unlink()


@pytest.mark.parametrize(
    ("removed", "kind", "words"),
    [
        ("run", WriteError, "run/metrics.jsonl can't be written: No such file or directory"),
        ("run/metrics.jsonl", WriteError, "metrics.jsonl can't be written: No such file"),
        ("run/checkpoints", CheckpointError, "run/checkpoints was removed or replaced during"),
    ],
)
def test_what_vanishes_while_training_is_told_at_the_next_save(
    config: Config, tmp_path: Path, removed: str, kind: type[UserError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        fit(config, console=Removing(tmp_path / removed))
    assert not (tmp_path / removed).exists()


def test_a_save_that_failed_ends_the_training_at_once(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the next save, which may be many minutes away."""

    def refuse(folder: Path, about: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    class Waiting(Checkpoints):
        def save(self, step: int, state: Any, *, score: float | None = None) -> None:
            super().save(step, state, score=score)
            assert self._pending is not None
            wait([self._pending])

    monkeypatch.setattr("jaxmusic.run_dir.checkpoint_dir.write_manifest", refuse)
    monkeypatch.setattr("jaxmusic.run.Checkpoints", Waiting)
    logged: list[str] = []
    console = Console(silent=True)
    monkeypatch.setattr(console, "log", logged.append)
    with pytest.raises(CheckpointError, match="Disk quota exceeded.* make room"):
        fit(config, console=console)
    assert [line for line in logged if line.startswith("epoch")] == [logged[-1]]


def test_a_run_without_room_for_its_settings_begins_when_there_is(config: Config) -> None:
    # The lock has room, and on a short path the first corpus.json too; the primers have none.
    with no_file_longer_than(300), pytest.raises(WriteError, match="run/(corpus.json|primes.npy) "):
        fit(config, console=Console(silent=True))
    assert not (Path(str(config.run.run_dir)) / "config.json").exists()
    assert fit(changed(config, "train", max_steps=1)).step == 1


def test_a_row_is_on_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, from_step=0)
    file.write({"step": 1})
    with no_file_longer_than(20), pytest.raises(WriteError, match="metrics.jsonl can't be written"):
        file.write({"step": 2, "loss": 1.0})
    assert path.read_text() == '{"step": 1}\n'
    file.close()
    again = MetricsFile(path, from_step=1)
    again.write({"step": 2})
    again.sync()
    again.close()
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2]
    for cut_off in ('{"step": 2, "lo', '{"step": 2}', "\0\0\0\0"):  # as a power cut leaves a row
        path.write_text('{"step": 1}\n' + cut_off)
        MetricsFile(path, from_step=2).close()
        assert path.read_text() == '{"step": 1}\n'


def test_preparing_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal finds the disk full, then the corpus; its bytes are those of a calm one."""
    songs, target = tmp_path / "songs", tmp_path / "corpus"
    for number in range(6):
        write_song(songs / f"{number}.mid", 200, seed=number)
    calm = prepare(songs, tmp_path / "calm", workers=1).path
    with (
        no_file_longer_than(3000),
        pytest.raises(WriteError, match=r"partial-\w+/journal.jsonl can't be written: File"),
    ):
        prepare(songs, target, workers=1)
    assert not target.exists()

    from jaxmusic.corpus.writer import write_corpus  # noqa: PLC0415

    def without_room(*arguments: object, **options: object) -> None:
        with no_file_longer_than(1000):
            write_corpus(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("jaxmusic.preparation.corpus_folder.write_corpus", without_room)
        with pytest.raises(WriteError, match=r"partial-\w+/corpus can't be written: File"):
            prepare(songs, target, workers=1)
    assert not target.exists()
    prepare(songs, target, workers=1)
    assert not find_damage(target)
    for path in calm.iterdir():
        assert path.read_bytes() == (target / path.name).read_bytes()


def test_a_best_that_is_damaged_is_told_when_the_run_is_opened(config: Config) -> None:
    fit(changed(config, "train", epochs=2))
    run_dir = Path(str(config.run.run_dir))
    best = open_run(run_dir).step
    shutil.rmtree(run_dir / "checkpoints" / str(best) / "state")
    logged: list[str] = []
    assert open_run(run_dir, log=logged.append).step == 27 - best  # of 9 and 18
    assert logged == [f"The checkpoint of step {best} is damaged, skipped: state is missing"]
