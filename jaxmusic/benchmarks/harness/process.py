"""A measured program, a baseline or jaxmusic itself, in a process of its own."""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, Self

from jaxmusic.errors import UserError


class BaselineError(UserError):
    """A measured program failed; the message is its own."""


@dataclass(frozen=True)
class Answer:
    """The result of a call."""

    result: Any
    seconds: float  # that the call took, in the program's process
    host_peak_bytes: int  # of the program's process so far


@dataclass(frozen=True)
class Program:
    """How a measured program is run."""

    module: str  # with a function `build`
    needs: tuple[str, ...] = ()  # distributions, by their names for pip; | separates alternatives
    environment: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Return the distributions that are needed and not installed."""
        return [name for name in self.needs if not any(map(_installed, name.split("|")))]


def jax_environment(precision: str) -> dict[str, str]:
    """Return variables that make JAX multiply in this precision by default.

    On GPUs and TPUs JAX would round the operands of float32 products (jaxmusic's own programs give
    the precision of each product).
    """
    names = {"f32": "highest", "tf32": "tensorfloat32"}
    return {"JAX_DEFAULT_MATMUL_PRECISION": names[precision]} if precision in names else {}


class MeasuredProcess:
    """A program that is built and ready for calls; its process ends when the context is left."""

    def __init__(self, name: str, program: Program, arguments: dict[str, Any]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        environment = {
            **os.environ,
            # Each program compiles for itself: a cached program would hide its compile time.
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            # On a GPU several processes share the memory.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **program.environment,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jaxmusic.benchmarks.harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C goes to this process only, which ends the other
        )
        try:
            self._ask({"call": "build", "module": program.module, "arguments": arguments})
        except BaseException:  # Ctrl-C too: the process must not outlive this one
            self.close()
            raise

    def call(self, name: str, **arguments: Any) -> Answer:
        """Call a method of the program.

        Raises BaselineError when it fails or its process has ended.
        """
        return self._ask({"call": name, "arguments": arguments})

    def _ask(self, request: dict[str, Any]) -> Answer:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise BaselineError(f"{self.name}: its process ended. {self._last_error()}".rstrip())
        answer = json.loads(line)
        if "error" in answer:
            raise BaselineError(f"{self.name}: {answer['error']}")
        return Answer(**answer)

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        # jaxmusic's own error says it all, among what libraries print about their connections.
        own = [line for line in lines if line.startswith("Error: ")]
        return " ".join(line.strip() for line in own[-1:] or lines[-3:])

    def close(self) -> None:
        """End the process."""
        process = self._process
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # of an unfinished request
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
