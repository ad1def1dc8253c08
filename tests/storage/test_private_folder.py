"""Which folders others could put files into, and temporary folders that don't outlive anybody."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmusic.storage.private_folder import is_abandoned, locked, temporary_folder, why_not_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are Unix's")

needs_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away"
)


def folder_in(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True)
    return path


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    assert why_not_private(folder_in(tmp_path / "a" / "b")) is None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_who_may_write_to_it_is_seen(tmp_path: Path, mode: int) -> None:
    folder = folder_in(tmp_path / "a")
    folder.chmod(mode)
    assert why_not_private(folder) == f"other users may write to {folder}"


def test_who_may_replace_it_is_seen(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "a" / "b")
    folder.parent.chmod(0o777)
    assert why_not_private(folder) == f"other users may write to {folder.parent}"
    folder.parent.chmod(0o1777)  # as /tmp: what is there is its owner's
    assert why_not_private(folder) is None


@needs_root
def test_a_group_may_write_where_it_is_the_users_own(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "a")
    folder.chmod(0o775)
    assert why_not_private(folder) is None  # root's group
    os.chown(folder, 0, 12345)
    assert why_not_private(folder) == f"other users may write to {folder}"


@needs_root
def test_another_users_folder_is_seen(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "a" / "b")
    os.chown(folder, 12345, 12345)
    assert why_not_private(folder) == f"{folder} belongs to another user"
    os.chown(folder, 0, 0)
    os.chown(folder.parent, 12345, 12345)
    assert why_not_private(folder) == f"{folder.parent} belongs to another user"


@needs_root
def test_another_users_link_is_not_followed(tmp_path: Path) -> None:
    target, link = folder_in(tmp_path / "target"), tmp_path / "link"
    link.symlink_to("target")
    assert why_not_private(link) is None
    os.chown(link, 12345, 12345, follow_symlinks=False)
    assert why_not_private(link) == f"{link} belongs to another user"
    assert why_not_private(target) is None


def test_what_links_lead_through_is_seen(tmp_path: Path) -> None:
    open_to_all, folder = tmp_path / "open", folder_in(tmp_path / "a")
    open_to_all.mkdir()
    (open_to_all / "second").symlink_to(folder)
    (tmp_path / "first").symlink_to("x/../open/second")
    folder_in(tmp_path / "x")
    assert why_not_private(tmp_path / "first") is None
    open_to_all.chmod(0o777)
    assert why_not_private(tmp_path / "first") == f"other users may write to {open_to_all}"
    sticky = folder_in(tmp_path / "sticky")
    sticky.chmod(0o1777)
    (tmp_path / "third").symlink_to(sticky)
    assert why_not_private(tmp_path / "third") == f"other users may write to {sticky}"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="too many symbolic links on the way to"):
        why_not_private(tmp_path / "a")


def test_a_temporary_folder_is_private_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        assert why_not_private(folder) is None
        (folder / "a").write_text("a")
        with temporary_folder() as other:  # it is in use: left alone
            assert folder.exists() and other != folder
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), temporary_folder():
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal
from jaxmusic.storage.private_folder import temporary_folder
with temporary_folder() as folder:
    (folder / "a").write_text("a")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert ran.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    # These are nobody's temporary folders.
    link, other = (tmp_path / f"{left.name}{end}" for end in "xy")
    link.symlink_to("/")
    (other / "thesis").mkdir(parents=True)
    os.utime(other, (0, 0))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder():
        assert not left.exists()
    assert sorted(tmp_path.iterdir()) == [link, other]
    assert (other / "thesis").is_dir()


def test_without_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("No locks available")

    path = tmp_path / "a"
    path.write_text("")
    assert is_abandoned(path)
    with locked(path):
        assert not is_abandoned(path)
    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(path):
        assert not is_abandoned(path)
    assert not is_abandoned(path)
    os.utime(path, (0, 0))
    assert is_abandoned(path)
    path.unlink()
    assert not is_abandoned(path)
