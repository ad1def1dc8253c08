"""Where a process belongs: by flags, and by the variables of clusters."""

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from jaxmusic.config import ConfigError, RunConfig
from jaxmusic.distributed import cluster
from jaxmusic.distributed.cluster import (
    CLUSTER_VARIABLES,
    Placement,
    address_of,
    find_placement,
    listen,
    split_address,
)
from jaxmusic.distributed.rendezvous import ProcessError

SLURM = {
    "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "node[001-002]", "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CLUSTER_VARIABLES, "JAX_COORDINATOR_ADDRESS", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster, "_jax_is_in_use", lambda: False)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"coordinator": "host:1"}, "belong together"),
        ({"num_processes": 2, "process_id": 0}, "belong together"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "--coordinator host is not"),
        ({"coordinator": "h:x", "num_processes": 2, "process_id": 0}, "--coordinator h:x is not"),
        ({"coordinator": "h:\N{SUPERSCRIPT TWO}", "num_processes": 2, "process_id": 0}, "is not"),
        ({"coordinator": "::1:5", "num_processes": 2, "process_id": 0}, "--coordinator ::1:5 is n"),
        ({"coordinator": "[]:5", "num_processes": 2, "process_id": 0}, "is not of the form"),
        ({"coordinator": "\x1b[2J:", "num_processes": 2, "process_id": 0}, r"\\x1b\[2J: is not"),
        ({"coordinator": "h:1", "num_processes": 2, "process_id": 2}, "--process-id 2 must be"),
    ],
)
def test_flags_that_do_not_fit(flags: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        find_placement(RunConfig(**flags))


def test_a_process_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_placement(RunConfig()) is None
    for name, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(name, value)
    assert find_placement(RunConfig()) is None
    monkeypatch.setenv("SLURM_NTASKS", "four")
    assert find_placement(RunConfig(num_processes=1)) is None


def test_the_flags_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunConfig(coordinator="[::1]:1234", num_processes=2, process_id=1)
    found = find_placement(run)
    assert found == Placement("::1", 1234, 2, 1, None)
    assert found.coordinator == "[::1]:1234"
    for name, value in SLURM.items():  # which give this process's GPU all the same
        monkeypatch.setenv(name, value)
    assert find_placement(run) == Placement("::1", 1234, 2, 1, [1])


def test_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert find_placement(RunConfig()) == Placement("node001", 61441, 4, 3, [1], by_flags=False)
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "5000")
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "2,3")  # which JAX reads when it starts
    assert find_placement(RunConfig()) == Placement("node001", 5000, 4, 3, None, by_flags=False)
    monkeypatch.setattr(cluster, "_jax_is_in_use", lambda: True)
    assert find_placement(RunConfig()) is None  # a program that trains by itself


OMPI = {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b,2620::2]:43370"}


def test_open_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}
    more = {f"OMPI_COMM_WORLD_{name}": value for name, value in ranks.items()}
    for name, value in (OMPI | more).items():
        monkeypatch.setenv(name, value)
    found = find_placement(RunConfig())
    assert found is not None and (found.host, found.count, found.index) == ("fe80::b9b", 2, 1)


UNREADABLE = pytest.mark.raises_at("jaxmusic/distributed/cluster.py:_detect")
IMPOSSIBLE = pytest.mark.raises_at("jaxmusic/distributed/cluster.py:find_placement")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param(
            OMPI,
            r"variables \(OMPI_MCA_orte_hnp_uri\), but can't.*: OMPI_COMM_WORLD_SIZE is missing",
            marks=UNREADABLE,
        ),
        pytest.param(
            {"OMPI_MCA_orte_hnp_uri": "x"},
            "OMPI_MCA_orte_hnp_uri.*: ValueError: invalid literal",
            marks=UNREADABLE,
        ),
        pytest.param(
            SLURM | {"SLURM_NTASKS": "4(x2)"},
            "SLURM_NTASKS.*: ValueError: invalid literal",
            marks=UNREADABLE,
        ),
        pytest.param(
            SLURM | {"SLURM_PROCID": "7"},
            "determine its processes: process 7 of 4 at node001:61441. S",
            marks=IMPOSSIBLE,
        ),
        pytest.param(
            SLURM | {"JAX_COORDINATOR_PORT": "0"},
            "determine its processes: process 3 of 4 at node001:0",
            marks=IMPOSSIBLE,
        ),
    ],
)
def test_variables_of_a_cluster_that_do_not_fit(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessError, match=words) as raised:
        find_placement(RunConfig())
    assert "give --num-processes 1 to train in this process alone." in str(raised.value)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("h:1", "h", 1), ("[::1]:65535", "::1", 65535), ("fe80::1:5", "fe80::1", 5),
     ("h:0", "h", None), ("h:65536", "h", None), ("h:+5", "h", None), ("h", "", None)],
)  # fmt: skip
def test_addresses(address: str, host: str, port: int | None) -> None:
    assert split_address(address) == (host, port)
    if port is not None:
        assert split_address(address_of(host, port)) == (host, port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def bound_to(host: str, **placed: Any) -> str:
    with closing(listen(Placement(host, free_port(), 2, 0, None, **placed))) as listener:
        return str(listener.getsockname()[0])


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """What hosts are called, beside what the system knows."""
    known: dict[str, list[str]] = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *given: Any, **named: Any) -> list[Any]:
        return [
            found for name in known.get(host, [host]) for found in ask(name, port, *given, **named)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.delenv("JAX_COORDINATOR_BIND_ADDRESS", raising=False)
    yield known


def test_process_0_listens_on_the_interface_of_the_coordinator(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bound_to("127.0.0.1") == "127.0.0.1"
    assert bound_to("localhost") == "127.0.0.1"
    names["by-dns"] = ["::1", "192.0.2.1", "127.0.0.1"]  # 192.0.2.1 is nobody's
    with pytest.raises(ConfigError, match="is not an address of this host: start process 0 on the"):
        bound_to("by-dns")
    names["debian"] = ["127.0.1.1"]
    assert bound_to("debian") == "0.0.0.0"
    assert bound_to("192.0.2.1", by_flags=False) == "0.0.0.0"
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "127.0.0.1:9")
    assert bound_to("192.0.2.1") == "127.0.0.1"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(names: dict[str, list[str]]) -> None:
    try:
        assert bound_to("::1") == "::1"
    except ConfigError as error:
        pytest.skip(str(error))
    names["six"] = ["::1"]
    assert bound_to("six") == "::"


@pytest.mark.raises_at("jaxmusic/distributed/cluster.py:listen")
def test_a_port_that_is_taken_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for by_flags, words in (
            (True, f"--coordinator 127.0.0.1:{port} is taken: another training listens there"),
            (False, "another port \\(by JAX_COORDINATOR_PORT\\) to all processes"),
        ):
            with pytest.raises(ConfigError, match=words):
                listen(Placement("127.0.0.1", port, 2, 0, None, by_flags))


def test_a_name_that_nobody_knows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*given: Any, **named: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConfigError, match="can't be used: Name or service not known. Give"):
        bound_to("nowhere")
