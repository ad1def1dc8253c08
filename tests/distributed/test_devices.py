"""What JAX starts on."""

from typing import Any

import jax
import pytest

from jaxmusic.config import ConfigError
from jaxmusic.distributed import devices
from jaxmusic.distributed.devices import find_devices, local_devices


def test_devices_are_those_of_jax() -> None:
    assert find_devices() == jax.devices()
    described = local_devices()
    assert described["the number of devices"] == jax.local_device_count()
    assert described["the kind of devices"] == jax.local_devices()[0].device_kind


@pytest.mark.parametrize(
    ("platforms", "error", "words"),
    [
        ("cuda", AssertionError(), "JAX_PLATFORMS=cuda: no such device is here, or JAX w"),
        (
            "foo", RuntimeError("Unable to initialize backend 'foo': unknown. " + devices.JAX_HINT),
            "JAX_PLATFORMS=foo: Unable to initialize backend 'foo': unknown. Unset it to take w",
        ),
        ("", RuntimeError("The TPU is in use.\nmore"), "JAX can't start .*: The TPU is in use. J"),
    ],
)  # fmt: skip
def test_why_there_are_none_is_reported(
    platforms: str, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> list[Any]:
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(devices, "requested_platforms", lambda: platforms)
    with pytest.raises(ConfigError, match=words):
        find_devices()
