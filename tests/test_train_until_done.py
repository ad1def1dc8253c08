"""Starting the training again until it is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "train_until_done.sh"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script of Unix's shell")

# In the place of Python: notes what it is to run, and fails at the first training.
FAKE = """#!/bin/sh
basename "$1" >> calls
[ "$(tail -n 1 calls)" = prepare.py ] && exit 0
[ "$(grep -c train.py calls)" -gt 1 ]
"""


def test_it_goes_on_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    for name, lines in (("python", FAKE), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(lines)
        (tmp_path / name).chmod(0o755)
    process = subprocess.Popen(
        ["bash", SCRIPT, "songs", "run"], cwd=tmp_path, stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "calls").read_text().split() == ["prepare.py", "train.py", "train.py"]
