"""Trainings of several processes, as on several hosts; here all on one."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from helpers.paths import SCRIPTS
from helpers.programs import QUICK_COMPILATION

TRAIN = SCRIPTS / "train.py"
HANG_SECONDS = 300


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as free:
        return int(free.getsockname()[1])


class Job:
    """A training of so many processes, each with so many devices."""

    def __init__(
        self, corpus: Path, run_dir: Path, processes: int, devices: int, **flags: Any
    ) -> None:
        flags.setdefault("coordinator", f"localhost:{free_port()}")
        others = flags.pop("environments", {})  # variables of single processes
        # 26 rows over 4 devices are filled up to 28; the last batch of an epoch has 18.
        given = {
            "corpus": corpus, "run-dir": run_dir, "window": 10, "hidden-size": 8,
            "dense-size": 6, "layers": 1, "batch-size": 26, "log-steps": 1, "held-out": 0.3,
            **flags,
        }  # fmt: skip
        if processes > 1:
            given["num-processes"] = processes
        else:
            del given["coordinator"]
        environment = {
            **os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices),
            **QUICK_COMPILATION,
        }  # fmt: skip
        self.run_dir = run_dir
        self.processes = []
        for index in range(processes):
            own = {**given, **({"process-id": index} if processes > 1 else {})}
            own |= {  # flags of single processes
                name.partition("@")[0]: value
                for name, value in flags.items()
                if name.endswith(f"@{index}")
            }
            words = [
                word
                for name, value in own.items()
                if "@" not in name
                for word in (f"--{name}", str(value))
            ]
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, str(TRAIN), "classic", *words, "--no-compilation-cache"],
                    env=environment | others.get(index, {}), stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True,
                )
            )  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        path = self.run_dir / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def wait_for_rows(self, count: int) -> None:
        deadline = time.monotonic() + HANG_SECONDS
        while len(self.rows()) < count:
            assert all(each.poll() is None for each in self.processes), self.end()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self) -> list[tuple[int, str]]:
        """Exit code and output of each process."""
        try:
            outputs = [each.communicate(timeout=HANG_SECONDS)[0] for each in self.processes]
        finally:
            for each in self.processes:
                each.kill()
        return [(each.returncode, out) for each, out in zip(self.processes, outputs, strict=True)]

    def succeed(self) -> "Job":
        ended = self.end()
        assert [code for code, _ in ended] == [0] * len(ended), ended
        # The transport has its own lines; of ours, process 0 alone speaks. (Two of its threads may
        # write into each other's lines, and leave one that is empty or has a number alone.)
        ours = [re.sub(r".*(\[Gloo\]|peer ranks).*\n", "", output) for _, output in ended]
        assert "Done" in ours[0]
        assert not re.search(r"[^\d\s]", "".join(ours[1:]))
        return self
