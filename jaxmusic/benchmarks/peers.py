"""Peers: what jaxmusic is measured against, each in a process of its own."""

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


class PeerError(UserError):
    """A peer that failed; the message is what it said."""


@dataclass(frozen=True)
class Answer:
    """What a call came to."""

    result: Any
    seconds: float  # that the call took, in the peer's process
    host_peak_bytes: int  # of the peer's process so far


@dataclass(frozen=True)
class Kind:
    """How a peer is run."""

    module: str  # with a function `build`
    needs: tuple[str, ...] = ()  # distributions, by the names that pip knows; | means or
    environment: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """What it needs and isn't installed."""
        return [name for name in self.needs if not any(map(_installed, name.split("|")))]


def jax_environment(precision: str) -> dict[str, str]:
    """What has JAX multiply in this precision where a program doesn't say it (jaxmusic does).

    On GPUs and TPUs it would round the operands of float32 products without asking.
    """
    names = {"f32": "highest", "tf32": "tensorfloat32"}
    return {"JAX_DEFAULT_MATMUL_PRECISION": names[precision]} if precision in names else {}


class PeerProcess:
    """One peer, built and ready to be called; ended when left."""

    def __init__(self, name: str, kind: Kind, arguments: dict[str, Any]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        environment = {
            **os.environ,
            # Each compiles for itself, or its compile time would be another's.
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            # On a GPU several processes share the memory.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **kind.environment,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jaxmusic.benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us alone; we end it
        )
        try:
            self._ask({"call": "build", "module": kind.module, "arguments": arguments})
        except BaseException:  # Ctrl-C too: the process must not outlive us
            self.close()
            raise

    def call(self, name: str, **arguments: Any) -> Answer:
        """Call a method of the peer.

        Raises PeerError when it fails or its process has ended.
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
            raise PeerError(f"{self.name}: its process ended. {self._last_words()}".rstrip())
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return Answer(**answer)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        # jaxmusic's own last word says it all, between what libraries say of their connections.
        own = [line for line in lines if line.startswith("Error: ")]
        return " ".join(line.strip() for line in own[-1:] or lines[-3:])

    def close(self) -> None:
        """End the process."""
        process = self._process
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # by what was left to say
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
