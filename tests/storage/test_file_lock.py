"""A lock that one process at a time holds, also of several hosts."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.clock import Clock

from jaxmusic.storage import file_lock
from jaxmusic.storage.atomic import WriteError
from jaxmusic.storage.file_lock import LockError, Owner, hold_lock

HOLD = """
import sys, time
from pathlib import Path
from jaxmusic.storage.file_lock import hold_lock
with hold_lock(Path(sys.argv[1]), lambda owner: print("waiting")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / ".lock"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases so short that a test can wait for their end."""
    monkeypatch.setattr(file_lock, "POLL", 0.01)
    monkeypatch.setattr(file_lock, "HEARTBEAT", 0.05)
    monkeypatch.setattr(file_lock, "LEASE", 0.5)


def never(owner: Owner | None) -> None:
    raise AssertionError(f"{owner} was waited for")


def lie_there(path: Path, **changed: object) -> None:
    """The lock file of an owner like this process, but for some fields."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    owner = dataclasses.asdict(Owner.current(path.stat().st_ino)) | changed
    path.write_text(json.dumps({"lock": 1, **owner}))


def test_a_second_process_waits_and_learns_the_owner(path: Path) -> None:
    logged = list[str]()
    is_logged = threading.Event()
    done = list[tuple[bool, bool]]()

    def log_owner(owner: Owner | None) -> None:
        logged.append(str(owner))
        is_logged.set()

    def second() -> None:
        with hold_lock(path, log_owner) as lock:
            done.append((lock.waited, path.exists()))

    thread = threading.Thread(target=second)
    with hold_lock(path, never) as lock:
        assert not lock.waited and path.exists()
        lock.check()
        thread.start()
        assert is_logged.wait(20)
        time.sleep(3 * file_lock.POLL)
        assert not done
    thread.join(20)
    assert done == [(True, True)]
    assert logged == [f"process {os.getpid()} on {lock.owner.host}"]
    assert list(path.parent.iterdir()) == []


def test_a_killed_process_holds_nothing(path: Path) -> None:
    """Not even as long as its parent has not asked for its end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(RuntimeError, match="it lives"),
            hold_lock(path, never, refusal=lambda owner: RuntimeError("it lives")),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with hold_lock(path, never) as lock:
            assert not lock.waited


@pytest.mark.parametrize("changed", [{"start": "1"}, {"pid": 2**22 + 1}])
def test_a_process_id_used_again_holds_nothing(path: Path, changed: dict[str, object]) -> None:
    lie_there(path, **changed)
    with hold_lock(path, never):
        pass


class SleepClock(Clock):
    """A clock that moves when something sleeps, and then does what `on_sleep` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.slept = 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        monkeypatch.setattr("time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds
        self.on_sleep()


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "elsewhere"},
        {"machine": "another boot, or container"},
        {"inode": 0},  # a copy of a lock file
        {"start": None},
    ],
)
def test_another_hosts_lock_is_taken_over_after_its_last_heartbeat(
    path: Path, changed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    lie_there(path, **changed)
    clock = SleepClock(monkeypatch)
    waited = list[Owner | None]()
    with hold_lock(path, waited.append) as lock:
        assert abs(clock.slept - file_lock.LEASE) <= 2 * file_lock.POLL
        assert lock.waited and len(waited) == 1


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_another_hosts_lock_is_held_as_long_as_it_is_touched(
    path: Path, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that host's clock is an hour behind, or ahead."""
    lie_there(path, host="elsewhere")
    clock = SleepClock(monkeypatch)
    hour = path.stat().st_mtime + ahead
    touched_until = 10 * file_lock.LEASE

    def touch() -> None:
        if clock.slept <= touched_until:
            heartbeats = clock.slept // file_lock.HEARTBEAT
            os.utime(path, (hour + heartbeats, hour + heartbeats))

    clock.on_sleep = touch
    with (
        pytest.raises(RuntimeError, match="process .* on elsewhere"),
        hold_lock(path, lambda owner: None, refusal=lambda owner: RuntimeError(str(owner))),
    ):
        pass
    assert clock.slept < file_lock.LEASE
    with hold_lock(path, lambda owner: None):
        assert touched_until < clock.slept < touched_until + 2 * file_lock.LEASE


def test_a_file_server_that_is_away_for_a_while_is_not_silence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie_there(path, host="elsewhere")
    clock = Clock(monkeypatch)
    watch = file_lock._Watch()
    seen = file_lock._read_state(path)
    assert seen is not None
    for _ in range(5):
        assert watch.is_alive(seen) is None
        clock.now += 0.9 * file_lock.LEASE  # so long does each poll take


@pytest.mark.usefixtures("quick")
@pytest.mark.raises_at("jaxmusic/storage/file_lock.py:check")
def test_an_owner_sees_that_its_lock_is_taken_over(path: Path) -> None:
    with hold_lock(path, never) as lock:
        lock.check()
        lie_there(path, host="elsewhere", pid=12)
        with pytest.raises(LockError, match="process 12 on elsewhere took it over, after 0.5 sec"):
            lock.check()
    assert path.exists()  # it is not ours any more
    path.unlink()
    with hold_lock(path, never) as lock:
        path.unlink()
        lock._heartbeat.join(20)
        with pytest.raises(LockError, match="no longer held by this process: it was removed"):
            lock.check(quick=True)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_several_that_take_over_a_lock_hold_it_one_at_a_time(path: Path) -> None:
    for _ in range(5):
        lie_there(path, host="elsewhere")
        inside, most = list[int](), list[int]()

        def hold(number: int, inside: list[int] = inside, most: list[int] = most) -> None:
            with hold_lock(path, lambda owner: None) as lock:
                inside.append(number)
                time.sleep(0.02)
                most.append(len(inside))
                lock.check()
                inside.remove(number)

        threads = [threading.Thread(target=hold, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert most == [1, 1, 1, 1]
    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_live_lock_taken_away_by_mistake_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look at a stale lock and its removal another one took its place."""
    lie_there(path, host="elsewhere")
    stale = file_lock._read_state(path)
    assert stale is not None
    path.unlink()
    with hold_lock(path, never) as lock:
        looks = [stale]
        look = file_lock._read_state
        with monkeypatch.context() as patch:
            patch.setattr(file_lock, "_read_state", lambda at: looks.pop() if looks else look(at))
            file_lock._remove_stale(path, stale)
        lock.check()
    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", [b"", b'{"lock"', b'{"lock": 1, "host": "elsewhere", "pid": 1'])
def test_a_lock_file_cut_off_is_taken_over(path: Path, content: bytes) -> None:
    """As a power cut leaves it."""
    path.parent.mkdir()
    path.write_bytes(content)
    with hold_lock(path, lambda owner: None) as lock:
        assert lock.waited


def test_other_things_in_its_place_are_left_there(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder" / ".lock").mkdir(parents=True)
    (tmp_path / "thesis").write_text("thesis")
    (tmp_path / "link").symlink_to("thesis")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder/.lock", "thesis", "link", "pipe"):
        with (
            pytest.raises(LockError, match="is needed as a lock, and holds something else: move"),
            hold_lock(tmp_path / name, never),
        ):
            pass
    assert (tmp_path / "thesis").read_text() == "thesis"
    with pytest.raises(WriteError, match="Not a dir"), hold_lock(tmp_path / "thesis" / "a", never):
        pass
