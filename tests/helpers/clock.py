"""A clock that tests turn."""

import pytest


class Clock:
    """`time.monotonic`, which moves when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
