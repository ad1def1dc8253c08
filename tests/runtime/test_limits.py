"""Less than the minimum is seen before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import SCRIPTS

from jaxmusic.runtime.limits import GENERATING, MIB, PREPARING, TRAINING

if sys.platform == "win32":
    pytest.skip("the limits are Unix's", allow_module_level=True)

import resource

LIMITED = """
import os, resource, sys
number, soft, hard = map(int, sys.argv[1:4])
resource.setrlimit(number, (soft, hard))
os.execv(sys.executable, [sys.executable, *sys.argv[4:]])
"""
SHOW = """
import os, resource
from jaxmusic.runtime.limits import PREPARING, check_limits
check_limits(PREPARING)
print(*map(resource.getrlimit, (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE)))
print(os.environ.get("OPENBLAS_NUM_THREADS"))
"""


def limited(script: Path, number: int, soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    given = map(str, (number, soft, hard, script, "--help"))
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *given], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("script", "number", "limit", "words"),
    [
        (
            "train.py",
            resource.RLIMIT_AS,
            700_000 * 1024,
            "684 MiB of address space, but it needs ",
        ),
        (
            "generate.py",
            resource.RLIMIT_AS,
            700_000 * 1024,
            "684 MiB of address space, but it needs ",
        ),
        (
            "prepare.py",
            resource.RLIMIT_AS,
            100_000 * 1024,
            "98 MiB of address space, but it needs ",
        ),
        (
            "prepare.py",
            resource.RLIMIT_DATA,
            60_000 * 1024,
            "59 MiB of memory for data, but it need",
        ),
        ("train.py", resource.RLIMIT_NOFILE, 10, "10 open files, but it needs 64: start"),
        ("prepare.py", resource.RLIMIT_NOFILE, 16, "16 open files, but it needs 32: start"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="others don't enforce all of them")
def test_too_little_is_reported_in_a_sentence(
    script: str, number: int, limit: int, words: str
) -> None:
    ran = limited(SCRIPTS / script, number, limit, limit)
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"Error: The system limits this process to {words}")
    assert ": start it where `ulimit -" in line and line.endswith(" or more.")


@pytest.mark.skipif(sys.platform != "linux", reason="others don't enforce all of them")
def test_soft_limits_are_raised(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    gib = 2**30
    for number, soft, hard, then in (
        (resource.RLIMIT_AS, MIB * 200, 4 * gib, 4 * gib),
        (resource.RLIMIT_DATA, MIB * 100, gib, gib),
        (resource.RLIMIT_NOFILE, 20, 100, PREPARING.open_files),
        (resource.RLIMIT_NOFILE, 40, 100, 40),
    ):
        ran = limited(script, number, soft, hard)
        assert f"({then}, {hard})" in ran.stdout, ran
        assert ran.stdout.split()[-1] == ("None" if number == resource.RLIMIT_NOFILE else "1")


def test_training_needs_most() -> None:
    for name in vars(TRAINING):
        values = [getattr(minimum, name) for minimum in (PREPARING, GENERATING, TRAINING)]
        assert values == sorted(values)
