"""Several processes that train together, as on several hosts; here all on one."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers.jobs import Job, free_port
from helpers.midi_files import write_song
from helpers.paths import PACKAGE

from jaxmusic.config import RunConfig
from jaxmusic.distributed import processes
from jaxmusic.distributed.cluster import Placement, address_of
from jaxmusic.distributed.processes import Processes, join_processes
from jaxmusic.distributed.rendezvous import Hello, ProcessError, connect
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run import open_run

STEPS = 50


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for number in range(8):
        write_song(folder / f"{number}.mid", 60, seed=number)
    return prepare(folder, folder / "corpus", workers=1).path


def ipv6_or_4() -> str:
    """The loopback interface, by IPv6 where the system has it."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return "::1"
    except OSError:
        return "127.0.0.1"


def arrays(run_dir: Path) -> Any:
    run = open_run(run_dir, "latest")
    return run.step, run.params, run.batch_stats


def losses(job: Job) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in job.rows() if "loss" in row}


def assert_equal_within_rounding(job: Job, expected: Job) -> None:
    there, here = losses(expected), losses(job)
    assert list(here) == list(there) == list(range(1, STEPS + 1))
    np.testing.assert_allclose(list(here.values()), list(there.values()), rtol=1e-5)

    def close(left: Any, right: Any) -> None:
        assert np.abs(left - right).max() <= 1e-4 * max(1.0, np.abs(right).max())

    jax.tree.map(close, arrays(job.run_dir), arrays(expected.run_dir))
    held_out, wanted = (
        [row["held_out_loss"] for row in each.rows() if "held_out_loss" in row]
        for each in (job, expected)
    )
    np.testing.assert_allclose(held_out, wanted, rtol=1e-5)
    assert len(held_out) == STEPS // 13


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One process with one device."""
    run_dir = tmp_path_factory.mktemp("runs") / "alone"
    return Job(corpus, run_dir, 1, 1, **{"max-steps": STEPS}).succeed()


def test_more_or_fewer_processes_equal_one(corpus: Path, tmp_path: Path, alone: Job) -> None:
    """Two processes, then one, then two: they read from the host, `alone` from its device.

    One of them has settings that must have no effect.
    """
    run_dir = tmp_path / "run"
    host: dict[str, Any] = {"device-corpus-mib": 0}
    x64 = {"environments": {1: {"JAX_ENABLE_X64": "1"}}}
    Job(corpus, run_dir, 2, 2, **host, **x64, **{"max-steps": 20}).succeed()
    Job(corpus, run_dir, 1, 4, **{"max-steps": 31}).succeed()
    last = Job(corpus, run_dir, 2, 2, **host, **{"max-steps": STEPS}).succeed()
    assert_equal_within_rounding(last, alone)


def test_processes_plan_minutes_alike(corpus: Path, tmp_path: Path) -> None:
    """The plan is process 0's, by its clock; the run's end is evaluated, wherever it is."""
    options = {"minutes": 0.05, "schedule": "cosine", "optimizer": "adamw", "ema-decay": 0.9}
    job = Job(corpus, tmp_path / "run", 2, 1, **options).succeed()
    last = job.rows()[-1]
    assert "held_out_loss" in last and arrays(job.run_dir)[0] == last["step"]


def test_processes_lose_patience_together(corpus: Path, tmp_path: Path) -> None:
    """A learning rate that moves no weight: the second epoch is no better than the first."""
    options = {"patience": 1, "learning-rate": 1e-30, "batch-norm-momentum": 0, "epochs": 9}
    job = Job(corpus, tmp_path / "run", 2, 1, **options)
    told = job.end()
    assert [code for code, _ in told] == [0, 0], told
    assert "(--patience 1)" in told[0][1]
    assert arrays(job.run_dir)[0] < 9 * 13


def test_killed_and_stopped_processes_continue_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    """One of them killed takes the other down; one of them asked to stop stops both."""
    endless = {"checkpoint-minutes": 0.005, "max-steps": 10**6, "epochs": 10**5, "held-out": 0}
    killed = Job(corpus, tmp_path / "run", 2, 1, **endless)
    killed.wait_for_rows(12)
    killed.processes[1].kill()
    (code, output), _ = killed.end()
    assert code == 1
    assert "Error: Process 1 of 2 is gone. All processes of the training stop." in output
    assert "Traceback" not in output

    stopped = Job(corpus, tmp_path / "run", 2, 1, **endless)
    stopped.wait_for_rows(len(killed.rows()) + 4)
    stopped.processes[1].send_signal(signal.SIGTERM)
    ended = stopped.end()
    assert [code for code, _ in ended] == [75, 75], ended
    assert re.search(r"Going on with .* after step [\d,]+", ended[0][1])
    assert "Stopped and saved after step" in ended[0][1]

    to_its_end = endless | {"max-steps": max(losses(stopped)) + 10}
    last = Job(corpus, tmp_path / "run", 2, 1, **to_its_end).succeed()
    whole = Job(corpus, tmp_path / "whole", 2, 1, **to_its_end).succeed()
    assert losses(last) == losses(whole)
    jax.tree.map(np.testing.assert_array_equal, arrays(last.run_dir), arrays(whole.run_dir))


def test_a_failure_of_one_process_is_reported_by_all(corpus: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"max-steps": 5}
    lost = Job(corpus, tmp_path / "b", 2, 1, **few, **{"corpus@1": tmp_path / "nowhere"})
    (first_code, first), (code, output) = lost.end()
    assert (first_code, code) == (1, 1)
    assert "Process 1 of 2 failed: " in first and "nowhere is not a corpus" in first
    assert "Error: " in output and "nowhere is not a corpus" in output
    assert "Traceback" not in first + output


def test_differences_between_processes_are_reported_by_all(corpus: Path, tmp_path: Path) -> None:
    package = tmp_path / "other" / "jaxmusic"
    shutil.copytree(PACKAGE, package)
    with (package / "trainer.py").open("a") as file:
        file.write("# Another version.\n")
    start = "start the same command, with the same data, installation and devices, everywhere."
    for other, differs in (
        (
            {"batch-size@1": 13, "environments": {1: {"PYTHONPATH": str(package.parent)}}},
            r"batch_size \(13, not 26\), "
            r"the digest of jaxmusic's sources \([0-9a-f]{16}, not [0-9a-f]{16}\)",
        ),
        (
            {"environments": {1: {"JAX_NUM_CPU_DEVICES": "2"}}},
            r"the number of devices \(2, not 1\)",
        ),
    ):
        for code, output in Job(corpus, tmp_path / "run", 2, 1, **{"max-steps": 5, **other}).end():
            assert code == 1
            assert re.search(f"Process 1 differs from process 0 in {differs}: {start}", output)
            assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_a_training_continues_whoever_connects(corpus: Path, tmp_path: Path) -> None:
    """Processes of another job, or started twice, get an error that says so."""
    run_dir = tmp_path / "run"
    host, port = ipv6_or_4(), free_port()
    endless = {
        "coordinator": address_of(host, port), "max-steps": 10**6, "epochs": 10**5, "held-out": 0,
    }  # fmt: skip
    job = Job(corpus, run_dir, 2, 1, **endless)
    job.wait_for_rows(2)
    (first_code, first), (code, output) = Job(corpus, run_dir, 2, 1, **endless).end()
    assert (first_code, code) == (2, 1)
    assert f"Error: --coordinator {endless['coordinator']} is taken: another training" in first
    assert "Error: Process 1 of this training is already there: start each process onc" in output
    assert "Traceback" not in first + output
    with pytest.raises(ProcessError, match=f"Another training .--run-dir {run_dir}; this one is "):
        connect(host, port, Hello(1, 2, "--run-dir other", {}), 30)
    job.wait_for_rows(len(job.rows()) + 2)
    job.processes[0].send_signal(signal.SIGTERM)
    assert [code for code, _ in job.end()] == [75, 75]


JOINED_BY_A_PROGRAM = """
import sys
import jax
from jaxmusic.config import RunConfig
from jaxmusic.distributed.processes import join_processes

index = int(sys.argv[2])
jax.distributed.initialize(sys.argv[1], 2, index)
print(join_processes(RunConfig()).gather(index))
"""


def test_processes_that_a_program_has_connected_are_taken_over() -> None:
    """Also with different numbers of devices, over which JAX itself can't broadcast."""
    words = [sys.executable, "-c", JOINED_BY_A_PROGRAM, f"localhost:{free_port()}"]
    started = [
        subprocess.Popen(
            [*words, str(index)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(index + 1)},
        )
        for index in (0, 1)
    ]  # fmt: skip
    for each in started:
        assert each.communicate(timeout=120)[0].splitlines()[-1] == "[0, 1]"
        assert each.returncode == 0


def test_a_process_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    for run in (RunConfig(), RunConfig(num_processes=1)):
        processes = join_processes(run)
        assert (processes.is_primary, processes.count) == (True, 1)
        assert processes.gather({"a": 1}) == [{"a": 1}]
        assert processes.broadcast(lambda: 5) == 5


@pytest.mark.raises_at("jaxmusic/distributed/processes.py:require_equal")
def test_the_values_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes()
    values = [{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 3}]
    monkeypatch.setattr(processes, "gather", lambda _: values)
    with pytest.raises(ProcessError, match=r"Process 2 differs from process 0 in b \(3, not 2\)"):
        processes.require_equal(values[0])


@pytest.mark.raises_at("jaxmusic/distributed/processes.py:_start_jax")
def test_an_error_of_jax_itself_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def initialize(*given: Any, **named: Any) -> None:
        raise RuntimeError("DEADLINE_EXCEEDED\nin C++")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    words = "can't connect: JAX says: DEADLINE_EXCEEDED. Start the same command on all hosts with"
    with pytest.raises(ProcessError, match=words):
        processes._start_jax(Placement("h", 1, 2, 1, None), "127.0.0.1:2")


WAITING = """
import sys
from jaxmusic.distributed import processes
from jaxmusic.config import RunConfig
from jaxmusic.cli import run_script

processes.START_SECONDS = 3
run = RunConfig(coordinator=sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
sys.exit(run_script(lambda: processes.join_processes(run)))
"""


@pytest.mark.parametrize(
    ("index", "reason"),
    [(0, "not all of them have started"), (1, "process 0 can't be reached at localhost:")],
)
def test_waiting_in_vain_is_reported(index: int, reason: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WAITING, f"localhost:{free_port()}", str(index)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "stack trace" not in ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"Error: The processes can't connect: {reason}")
    assert ". Start the same command on all hosts within 3 seconds, and check that" in line
