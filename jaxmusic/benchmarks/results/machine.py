"""The machine and the versions of a measurement, and peaks from datasheets."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "mido", "keras", "tensorflow", "tensorflow-cpu",
    "torch", "pretty_midi", "symusic", "music21",
)  # fmt: skip

# Dense FLOP/s of one JAX device, from the makers' datasheets. (Of a TPU v2, v3 and 7x a device is a
# core, half a chip.) TPU datasheets give none for float32.
DATASHEET: dict[str, dict[str, float]] = {
    "TPU v2": {"bf16": 22.5e12},
    "TPU v3": {"bf16": 61.5e12},
    "TPU v4": {"bf16": 275e12},
    "TPU v5 lite": {"bf16": 197e12},
    "TPU v5": {"bf16": 459e12},
    "TPU v6 lite": {"bf16": 918e12},
    "TPU7x": {"bf16": 1153.5e12},
    "NVIDIA H200": {"bf16": 989e12, "tf32": 494e12, "f32": 67e12},
    "NVIDIA H100 80GB HBM3": {"bf16": 989e12, "tf32": 494e12, "f32": 67e12},
    "NVIDIA A100-SXM4-80GB": {"bf16": 312e12, "tf32": 156e12, "f32": 19.5e12},
    "NVIDIA A100-SXM4-40GB": {"bf16": 312e12, "tf32": 156e12, "f32": 19.5e12},
    "NVIDIA L4": {"bf16": 121e12, "tf32": 60e12, "f32": 30.3e12},
    "Tesla V100-SXM2-16GB": {"f32": 15.7e12},
    "Tesla T4": {"f32": 8.1e12},
}


def datasheet_peak(device_kind: str, precision: str) -> float | None:
    """Return the FLOP/s of one device from its datasheet, or None."""
    return DATASHEET.get(device_kind, {}).get(precision)


def describe_machine() -> dict[str, Any]:
    """Return processor, memory, system, versions, and the load before the benchmark."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: v for name in PACKAGES if (v := _version(name)) is not None},
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_line(machine: dict[str, Any]) -> str:
    """Describe the machine on one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, load {machine['load_before']:.1f} before; "
        f"Python {machine['python']}, {versions}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
