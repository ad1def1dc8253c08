"""Starting the training again until it is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import SCRIPTS

SCRIPT = SCRIPTS / "train_until_done.sh"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script of Unix's shell")

# In the place of Python: notes what it is to run, and fails at the first training.
FAKE = """#!/bin/sh
basename "$1" >> calls
[ "$(tail -n 1 calls)" = prepare.py ] && exit 0
[ "$(grep -c train.py calls)" -gt 1 ]
"""


def test_it_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    for name, lines in (("python", FAKE), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(lines)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "songs").mkdir()
    process = subprocess.Popen(
        ["bash", SCRIPT, "songs", "run"], cwd=tmp_path, stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "calls").read_text().split() == ["prepare.py", "train.py", "train.py"]


# Notes its arguments, and that is all.
STAND_IN = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >>"$NOTED"
printf '\\n' >>"$NOTED"
"""


def commands(tmp_path: Path, cwd: Path, *arguments: str) -> list[list[str]]:
    """The command lines of a call of the script, without the interpreter."""
    stand_in = tmp_path / "stand-in"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    noted = tmp_path / "noted"
    noted.unlink(missing_ok=True)
    ran = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHON": str(stand_in), "NOTED": str(noted), "CDPATH": "/tmp"},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    return [line.split("\0")[:-1] for line in noted.read_text().splitlines()]


@pytest.mark.parametrize(
    ("given", "folder", "name"),
    [
        ("songs", "songs", "songs"),
        ("songs/", "songs", "songs"),
        (".", ".", "here"),
        ("..", "..", "work"),
        ("songs/..", ".", "here"),
        ("my songs", "my songs", "my songs"),
        ("-songs", "-songs", "-songs"),
        ("/", "/", "_"),
    ],
)
def test_the_corpus_has_the_name_of_the_folder(
    tmp_path: Path, given: str, folder: str, name: str
) -> None:
    here = tmp_path / "work" / "here"
    for made in ("songs", "my songs", "-songs"):
        (here / made).mkdir(parents=True)
    prepare, train = commands(tmp_path, here, given, "my run", "quick", "--epochs", "2")
    script, midi_dir, flag, corpus = prepare
    assert script == str(SCRIPT.parent / "prepare.py")
    assert midi_dir == os.path.realpath(here / folder)
    place, _, mark = corpus.rpartition("-")
    assert flag == "--corpus" and place == f"corpora/{name}" and mark.isdigit()
    assert train == [
        str(SCRIPT.parent / "train.py"), "quick", "--epochs", "2", "--corpus", corpus,
        "--run-dir", "my run",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "scheme"),
    [
        (["modern", "--epochs", "2"], ["--scheme", "timed"]),
        (["modern", "--grid", "48"], ["--scheme", "timed", "--grid", "48"]),
        (["quick", "--scheme=timed", "--loudness"], ["--scheme", "timed", "--loudness"]),
        (["modern", "--scheme", "classic"], ["--scheme", "classic"]),
        (["--seed", "1"], []),
    ],
)
def test_the_corpus_has_the_scheme_of_the_training(
    tmp_path: Path, flags: list[str], scheme: list[str]
) -> None:
    (tmp_path / "songs").mkdir()
    plain = commands(tmp_path, tmp_path, "songs", "run")[0][-1]
    prepare, train = commands(tmp_path, tmp_path, "songs", "run", *flags)
    assert prepare[4:] == scheme
    assert (prepare[3] == plain) == (not scheme)  # schemes have corpora of their own
    assert prepare[3].startswith(plain)
    assert train[1:] == [*flags, "--corpus", prepare[3], "--run-dir", "run"]


def test_folders_of_one_name_have_corpora_of_their_own(tmp_path: Path) -> None:
    for folder in ("a/songs", "b/songs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/songs")
    found = [
        commands(tmp_path, tmp_path, folder, "run")[0][-1]
        for folder in ("a/songs", "b/songs", "link")
    ]
    assert found[0] != found[1]
    assert found[0] == found[2]


def test_what_is_no_folder_is_reported(tmp_path: Path) -> None:
    for arguments, code, words in (
        (["none", "run"], 1, "Error: The folder none can't be entered: give a folder of MIDI file"),
        (["songs"], 2, "Usage: "),
        (["songs", "--epochs"], 2, "Usage: "),
    ):
        ran = subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == code
        assert words in ran.stderr and ran.stdout == ""
