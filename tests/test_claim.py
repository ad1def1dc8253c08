"""A folder that one process at a time works in."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from jaxmusic.claim import claimed

HOLD = """
import sys, time
from pathlib import Path
from jaxmusic.claim import claimed
with claimed(Path(sys.argv[1]), print, "waiting"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_waits_and_is_told(tmp_path: Path) -> None:
    work = tmp_path / "work"
    told, events = [], []
    is_told = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        is_told.set()

    def second() -> None:
        with claimed(work, tell, "somebody is at it") as waited:
            events.append(("second", waited, work.exists()))

    thread = threading.Thread(target=second)
    with claimed(work, told.append, "never told") as waited:
        events.append(("first", waited, work.exists()))
        thread.start()
        assert is_told.wait(20)
        work.rmdir()  # the first is done, and clears up
        events.append(("first is done", False, work.exists()))
    thread.join(20)
    assert told == ["somebody is at it"]
    assert events == [("first", False, True), ("first is done", False, False),
                      ("second", True, True)]  # fmt: skip


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "work")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == b"held\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with claimed(tmp_path / "work", print, "waiting") as waited:
        assert not waited
