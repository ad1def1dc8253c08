"""Peaks of devices, from their datasheets."""

from jaxmusic.benchmarks.results.machine import datasheet_peak


def test_datasheets_are_asked_by_device_and_precision() -> None:
    assert datasheet_peak("TPU v5 lite", "bf16") == 197e12
    assert datasheet_peak("TPU v5 lite", "f32") is None
    assert datasheet_peak("cpu", "bf16") is None
