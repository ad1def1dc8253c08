"""The index of this process among those of a training, and the address of process 0.

From the flags, or from what JAX detects of a cluster: Cloud TPU, GKE, SLURM, Open MPI.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from jaxmusic.config import ConfigError, RunConfig
from jaxmusic.distributed.rendezvous import ProcessError
from jaxmusic.errors import reason_of
from jaxmusic.runtime.printable import printable

# What JAX looks for, or reads once it has detected a cluster.
CLUSTER_VARIABLES = (
    "OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS",
    "SLURM_PROCID", "SLURM_LOCALID", "TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES",
    "TPU_PROCESS_ADDRESSES", "MEGASCALE_COORDINATOR_ADDRESS", "MEGASCALE_NUM_SLICES",
    "MEGASCALE_SLICE_ID", "KUBERNETES_SERVICE_HOST", "JAX_COORDINATOR_PORT",
)  # fmt: skip
BIND_VARIABLE = "JAX_COORDINATOR_BIND_ADDRESS"  # JAX's own, read as JAX reads it
DETECTION_SECONDS = 300  # until the coordinator's name can be resolved


@dataclass(frozen=True)
class Placement:
    """One process among those of a training."""

    host: str  # of process 0
    port: int
    count: int
    index: int
    local_devices: Sequence[int] | None  # the GPUs of this process; None: all of the host
    by_flags: bool = True

    @property
    def coordinator(self) -> str:
        """HOST:PORT, an IPv6 address in brackets."""
        return address_of(self.host, self.port)


def find_placement(run: RunConfig) -> Placement | None:
    """Find the placement of this process; None for a single process.

    Raises ConfigError for invalid flags; ProcessError if JAX detects a cluster, but not its
    processes.
    """
    if run.num_processes == 1:
        return None
    given = (run.coordinator, run.num_processes, run.process_id)
    by_flags = any(value is not None for value in given)
    if by_flags:
        _check(*given)
    coordinator, count, index, local_devices = _detect(*given)
    if coordinator is None or count is None or index is None:
        return None
    host, port = split_address(coordinator)
    if not by_flags and (count == 1 or _jax_is_in_use()):
        return None
    if port is None or not 0 <= index < count:
        raise ProcessError(_unreadable(f"process {index} of {count} at {printable(coordinator)}"))
    return Placement(host, port, count, index, local_devices, by_flags)


def split_address(address: str) -> tuple[str, int | None]:
    """Split HOST:PORT (IPv6 without brackets); the port is None if it is not valid."""
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    return host.removeprefix("[").removesuffix("]"), number if 0 < number < 2**16 else None


def address_of(host: str, port: int) -> str:
    """HOST:PORT as in URLs: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(placement: Placement) -> socket.socket:
    """Listen on the interface of the coordinator's address; for process 0.

    A host name that resolves to the loopback interface on its own host (as in Debian's /etc/hosts)
    is another interface for the other hosts: then listen on all.

    Raises ConfigError when the port is taken, or the address is not this host's.
    """
    host, port = placement.host, placement.port
    if bind := os.environ.get(BIND_VARIABLE):
        host, _ = split_address(bind)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # One address is enough, and IPv4 is what all hosts have, where a name has both.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        if _is_name(host) and ipaddress.ip_address(address[0]).is_loopback:
            address = ("", port)
        try:
            return socket.create_server(address[:2], family=family)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or placement.by_flags:
                raise
            return socket.create_server(("", port), family=family)
    except OSError as error:
        raise ConfigError(_listen_error(placement, error)) from error


def _listen_error(placement: Placement, error: OSError) -> str:
    where = f"--coordinator {printable(placement.coordinator)}"
    if not placement.by_flags:
        where = f"The coordinator's address {printable(placement.coordinator)}"
    if error.errno == errno.EADDRINUSE:
        other = "" if placement.by_flags else " (by JAX_COORDINATOR_PORT)"
        return (
            f"{where} is taken: another training listens there, or another program. Give another "
            f"port{other} to all processes, or wait until it has ended."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{where} is not an address of this host: start process 0 on the host that has it. "
            f"(Behind address translation {BIND_VARIABLE}=0.0.0.0:{placement.port} listens on all.)"
        )
    return f"{where} can't be used: {reason_of(error)}. Give another one to all processes."


def _is_name(host: str) -> bool:
    """Whether it is a host name, neither an address nor `localhost`."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host != "localhost"
    return False


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise ConfigError(
            "--coordinator HOST:PORT, --num-processes N and --process-id I belong together: give "
            "all three on each host (none on Cloud TPU, GKE and SLURM), or --num-processes 1."
        )
    host, port = split_address(coordinator)
    bracketed = coordinator.startswith("[") and "]:" in coordinator
    if not host or port is None or bracketed != (":" in host):
        hint = " Write an IPv6 address in brackets: [::1]:1234." if ":" in host else ""
        raise ConfigError(
            f"--coordinator {printable(coordinator)} is not of the form HOST:PORT.{hint}"
        )
    if not 0 <= process_id < num_processes:
        raise ConfigError(
            f"--process-id {process_id} must be from 0 to {num_processes - 1} (--num-processes "
            f"{num_processes}), another one on each host."
        )


def _detect(
    coordinator: str | None, count: int | None, index: int | None
) -> tuple[str | None, int | None, int | None, Sequence[int] | None]:
    """Detect what isn't given, as `jax.distributed.initialize` would."""
    from jax._src.clusters import ClusterEnv  # noqa: PLC0415 (JAX has no public name for it)

    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        coordinator, count, index, local_devices = ClusterEnv.auto_detect_unset_distributed_params(
            coordinator, count, index, None, None, DETECTION_SECONDS
        )
    except KeyError as error:
        raise ProcessError(_unreadable(f"{error.args[0]} is missing")) from error
    except Exception as error:  # also of libraries that ask a cluster's servers
        message = str(error).split("\n", maxsplit=1)[0].rstrip(". ")
        raise ProcessError(_unreadable(printable(f"{type(error).__name__}: {message}"))) from error
    # (If the variable is set, JAX reads it itself.)
    chosen = None if os.environ.get("JAX_LOCAL_DEVICE_IDS") else local_devices
    return coordinator, count, index, chosen


def _unreadable(reason: str) -> str:
    found = ", ".join(name for name in CLUSTER_VARIABLES if name in os.environ)
    by = f" by its environment variables ({found})" if found else ""
    return (
        f"JAX detects a cluster{by}, but can't determine its processes: {reason}. "
        "Start training by the cluster's own launcher, or give --num-processes 1 to train in this "
        "process alone."
    )


def _jax_is_in_use() -> bool:
    """Whether the program has already used JAX: then its processes can't be connected."""
    from jax._src import xla_bridge  # noqa: PLC0415 (JAX has no public name for it)

    return bool(xla_bridge.backends_are_initialized())
