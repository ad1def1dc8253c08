"""The cache of compiled programs: what is damaged or not ours alone is never used."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxmusic.storage import private_cache
from jaxmusic.storage.private_cache import PrivateCache, open_cache

CONTENT = b"a compiled program" * 10


@pytest.fixture(autouse=True)
def nothing_said_yet() -> Iterator[None]:
    private_cache._log_once.cache_clear()
    yield
    private_cache._log_once.cache_clear()


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = PrivateCache(tmp_path)
    assert cache.get("a") is None
    cache.put("a", CONTENT)
    cache.put("b", b"")
    assert (cache.get("a"), cache.get("b")) == (CONTENT, b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_any_damage_is_seen_and_mended(tmp_path: Path) -> None:
    cache, path = PrivateCache(tmp_path), tmp_path / "a"
    cache.put("a", CONTENT)
    whole = path.read_bytes()
    flipped = [
        whole[:at] + bytes([whole[at] ^ 1 << random.Random(at).randrange(8)]) + whole[at + 1 :]
        for at in range(len(whole))
    ]
    cut = [whole[:size] for size in range(len(whole))]
    zeroed = [whole[:at] + bytes(len(whole) - at) for at in range(len(whole))]
    for damaged in [*flipped, *cut, *zeroed, whole + b"\0", CONTENT]:
        path.write_bytes(damaged)
        assert cache.get("a") is None
    cache.put("a", CONTENT)
    assert path.read_bytes() == whole
    (tmp_path / "b").write_bytes(whole)  # another key's
    assert cache.get("b") is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes in folders")
def test_only_a_file_is_read(tmp_path: Path) -> None:
    cache = PrivateCache(tmp_path)
    cache.put("a", CONTENT)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "a").symlink_to("elsewhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for key in ("a", "pipe", "zero", "folder", "none"):
        assert cache.get(key) is None
    cache.put("a", CONTENT)  # in the place of the link
    assert cache.get("a") == CONTENT and not (tmp_path / "a").is_symlink()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives away")
def test_another_users_file_is_not_read(tmp_path: Path) -> None:
    cache = PrivateCache(tmp_path)
    cache.put("a", CONTENT)
    os.chown(tmp_path / "a", 12345, 12345)
    assert cache.get("a") is None


def test_where_nothing_can_be_written_it_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache = PrivateCache(tmp_path)
    monkeypatch.setattr(private_cache, "fsync", full)
    cache.put("a", CONTENT)
    cache.put("a", CONTENT)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"A compiled program can't be kept for the next start in {tmp_path}: No")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from jaxmusic.storage import private_cache
private_cache.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
private_cache.PrivateCache(Path(sys.argv[1])).put("a", b"abc")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(private_cache.PARTIAL)
    assert PrivateCache(tmp_path).get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_a_cache_is_made_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    before = os.umask(0)
    try:
        cache = open_cache("xla")
    finally:
        os.umask(before)
    assert cache is not None and cache.folder == tmp_path / "c" / "jaxmusic" / "xla"
    if sys.platform != "win32":
        for path in (cache.folder, *cache.folder.parents[:2]):
            assert path.stat().st_mode & 0o777 == 0o700


def test_a_relative_cache_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    cache = open_cache("xla")
    assert cache is not None and cache.folder == tmp_path / ".cache" / "jaxmusic" / "xla"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives away")
def test_another_users_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, target = tmp_path / "c", tmp_path / "target"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    for folder in (home, target):
        folder.mkdir()
    home.chmod(0o1777)
    (home / "jaxmusic").symlink_to(target)
    os.chown(home / "jaxmusic", 12345, 12345, follow_symlinks=False)
    assert open_cache("lstm") is None
    assert f": {home / 'jaxmusic'} belongs to another user. " in capsys.readouterr().err
    assert list(target.iterdir()) == []
    (home / "jaxmusic").unlink()
    assert open_cache("lstm") is not None  # as with /tmp: what is there is its owner's


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("case", ["open to all", "a file", "no home"])
def test_a_cache_that_is_not_safe_is_refused_in_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "c"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    if case == "open to all":
        if sys.platform == "win32":
            pytest.skip("modes are Unix's")
        home.mkdir()
        home.chmod(0o777)
        reason = f"other users may write to {home}"
    elif case == "a file":
        home.write_text("")
        reason = f"{home}: File exists"
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", no_home)
        reason = "this user has no home folder"
    assert open_cache("xla") is None
    assert open_cache("lstm") is None
    assert capsys.readouterr().err == (
        f"Compiled programs aren't kept for the next start: {reason}. Name a folder that only you "
        "can write to with XDG_CACHE_HOME.\n"
    )
