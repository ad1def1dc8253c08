"""Time in collectives, out of a profile of the running program."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

# How XLA names its operations that devices do together, and NCCL its kernels.
NAMES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
    "collective-broadcast", "nccl",
)  # fmt: skip

# Of one device: seconds of each collective, by its name in the program, in the order of time.
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Shares:
    """The mean over devices, as shares of the time that was profiled."""

    collectives: float
    # The part in which a device waited for others to come to the same collective.
    waiting: float


def profile(do: Callable[[], None]) -> list[Times]:
    """What each device of this process spent in collectives while `do` ran; [] where none did.

    On CPUs a collective lasts from a device's coming to it to its leaving it, as the thread that
    runs the device has it; on GPUs and TPUs it is the kernel's time, which ends and starts alike.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # a row for every Python call would slow the dispatches
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            do()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return device_times(jax.profiler.ProfileData.from_file(str(path)).planes)


def shares(devices: Sequence[Times], seconds: float) -> Shares | None:
    """What part of `seconds` the devices of all processes spent so.

    None where they don't log of the same collectives, equally often: then something is missing.
    """
    counts = [{name: len(times) for name, times in device.items()} for device in devices]
    if not counts or any(each != counts[0] for each in counts):
        return None
    spent = waited = 0.0
    for name in counts[0]:
        times = np.array([device[name] for device in devices])  # (devices, occurrences)
        spent += float(times.sum())
        # Who comes last waits for nobody: its time is what the work itself takes.
        waited += float((times - times.min(axis=0)).sum())
    whole = seconds * len(devices)
    return Shares(spent / whole, waited / whole)


def device_times(planes: Iterable[Any]) -> list[Times]:
    """What each device spent in collectives, out of the planes of a profile.

    Each GPU and TPU has a plane of its own; CPU devices are in the one of the host.
    """
    found: dict[tuple[str, Any], list[tuple[float, str, float]]] = defaultdict(list)
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith(NAMES):
                    told = dict(event.stats)
                    device = (plane.name, told.get("device_ordinal"))
                    name = str(told.get("hlo_op", event.name))
                    found[device].append((event.start_ns, name, event.duration_ns / 1e9))
    # With devices of their own, what the host has is the time of starting kernels.
    own = {key: events for key, events in found.items() if key[0].startswith("/device:")}
    devices = []
    for events in (own or found).values():
        times: Times = defaultdict(list)
        for _, name, seconds in sorted(events):
            times[name].append(seconds)
        devices.append(dict(times))
    return devices
