"""Time spent in collectives, from a profile of the running program."""

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

# Of one device: seconds of each execution of a collective, by its name in the program.
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Shares:
    """Mean over devices, as shares of the profiled time."""

    collectives: float
    # The part in which a device waited for others to enter the same collective.
    waiting: float


def profile(do: Callable[[], None]) -> list[Times]:
    """Measure the time that each device of this process spends in collectives while `do` runs.

    On CPUs that is from entering to leaving a collective, in the thread that runs the device; on
    GPUs and TPUs it is the kernel's time. Devices without collectives are left out.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # a row for every Python call would slow the dispatches
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            do()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return device_times(jax.profiler.ProfileData.from_file(str(path)).planes)


def shares(devices: Sequence[Times], seconds: float) -> Shares | None:
    """Return the share of `seconds` that the devices of all processes spent in collectives.

    None unless all executed the same collectives equally often: then the profile is incomplete.
    """
    counts = [{name: len(times) for name, times in device.items()} for device in devices]
    if not counts or any(each != counts[0] for each in counts):
        return None
    spent = waited = 0.0
    for name in counts[0]:
        times = np.array([device[name] for device in devices])  # (devices, occurrences)
        spent += float(times.sum())
        # The last device to enter doesn't wait: its time is the collective's own.
        waited += float((times - times.min(axis=0)).sum())
    whole = seconds * len(devices)
    return Shares(spent / whole, waited / whole)


def device_times(planes: Iterable[Any]) -> list[Times]:
    """Read the time that each device spent in collectives from the planes of a profile.

    Each GPU and TPU has its own plane; CPU devices are in the host's.
    """
    found: dict[tuple[str, Any], list[tuple[float, str, float]]] = defaultdict(list)
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith(NAMES):
                    stats = dict(event.stats)
                    device = (plane.name, stats.get("device_ordinal"))
                    name = str(stats.get("hlo_op", event.name))
                    found[device].append((event.start_ns, name, event.duration_ns / 1e9))
    # With device planes, the host's events are only the launches of kernels.
    own = {key: events for key, events in found.items() if key[0].startswith("/device:")}
    devices = []
    for events in (own or found).values():
        times: Times = defaultdict(list)
        for _, name, seconds in sorted(events):
            times[name].append(seconds)
        devices.append(dict(times))
    return devices
