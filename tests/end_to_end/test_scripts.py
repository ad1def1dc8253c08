"""The command lines: what they write, what they say, how they end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mido
import pytest
from helpers.command_line import run_here
from helpers.midi_files import write_song
from helpers.paths import SCRIPTS

from jaxmusic.corpus.corpus import Corpus
from jaxmusic.tokenizers.tokenizer import read_tokens, transpose_tokens


def run(
    cwd: Path, script: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quick preset was trained for two epochs, by the command line."""
    folder = tmp_path_factory.mktemp("work")
    for number in range(12):
        write_song(folder / "midi_songs" / f"{number}.mid", 150, seed=number)
    (folder / "midi_songs" / "broken.mid").write_bytes(b"broken")
    ran = run(folder, "train.py", "quick", "--hidden-size", "16", "--epochs", "2")
    assert ran.returncode == 0, ran.stderr
    for words in (
        "13 files: 12 used, 0 empty, 1 skipped", "skipped: broken.mid: ", "songs held out",
        "epoch 2: loss", "Done: runs/quick", "python scripts/generate.py runs/quick",
    ):  # fmt: skip
        assert words in ran.stdout
    return folder


def test_training_again_finds_all_done(trained: Path) -> None:
    ran = run(trained, "train.py", "quick", "--hidden-size", "16", "--epochs", "2")
    assert ran.returncode == 0, ran.stderr
    assert "Going on with runs/quick" in ran.stdout
    assert "epoch 1" not in ran.stdout


def test_generating_writes_a_file_that_any_player_opens(trained: Path) -> None:
    for out in ("one.mid", "two.mid"):
        ran = run(trained, "generate.py", "runs/quick", "--out", out, "--length", "40")
        assert ran.returncode == 0, ran.stderr
        assert f"{out}: 40 tokens" in ran.stdout
    assert (trained / "one.mid").read_bytes() == (trained / "two.mid").read_bytes()
    file = mido.MidiFile(trained / "one.mid")
    messages = [message for track in file.tracks for message in track]
    assert any(message.type == "set_tempo" for message in messages)
    assert {m.program for m in messages if m.type == "program_change"} == {0}
    assert file.length == pytest.approx(40 / 2 / 2, abs=0.5)  # half a quarter each, at 120
    assert len(read_tokens(trained / "one.mid")) == 40


def test_generating_several_and_from_a_prime(trained: Path) -> None:
    ran = run(trained, "generate.py", "runs/quick", "--count", "2", "--seed", "5", "--length", "9")
    assert ran.returncode == 0, ran.stderr
    for number in (1, 2):
        path = trained / "runs" / "quick" / "samples" / f"seed-5-{number}.mid"
        assert len(read_tokens(path)) == 9
    prime = trained / "midi_songs" / "3.mid"
    ran = run(
        trained, "generate.py", "runs/quick", "--prime", prime, "--out", "new/p.mid",
        "--greedy", "--length", "12", "--which", "latest",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert len(read_tokens(trained / "new" / "p.mid")) == 12


def test_a_prime_is_written_before_its_music(trained: Path) -> None:
    """In another key and at another tempo, up to so many seconds."""
    prime = trained / "midi_songs" / "3.mid"
    for out, extra in (("a.mid", []), ("b.mid", ["--transpose", "3", "--tempo", "60"])):
        seconds = "6" if extra else "3"
        ran = run(
            trained, "generate.py", "runs/quick", "--prime", prime, "--with-prime", "--out", out,
            "--seconds", seconds, *extra,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert f"{out}: 12 tokens" in ran.stdout  # half a quarter each, at 120 and at 60
    song = read_tokens(prime)
    plain, moved = read_tokens(trained / "a.mid"), read_tokens(trained / "b.mid")
    assert len(plain) == len(song) + 12 and plain[: len(song)] == song
    assert moved == transpose_tokens(plain, 3)
    lengths = [mido.MidiFile(trained / out).length for out in ("a.mid", "b.mid")]
    assert lengths[1] == pytest.approx(2 * lengths[0])


def test_a_piece_is_the_same_on_any_number_of_devices(trained: Path) -> None:
    for devices, count in ((1, 1), (8, 2)):
        ran = run(
            trained, "generate.py", "runs/quick", "--out", f"on-{devices}.mid", "--length", "20",
            "--count", str(count),
            XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
    assert (trained / "on-1.mid").read_bytes() == (trained / "on-8-1.mid").read_bytes()


def test_a_prepared_corpus_trains(tmp_path: Path) -> None:
    for number in range(3):
        write_song(tmp_path / "in" / f"{number}.MID", 120, seed=number)
    ran = run(tmp_path, "prepare.py", "in", "--corpus", "corpus", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    assert "3 files: 3 used" in ran.stdout
    assert "360 tokens, 11 distinct" in ran.stdout
    assert "260 windows of 100" in ran.stdout
    ran = run(
        tmp_path, "train.py", "--corpus", "corpus", "--run-dir", "my run", "--hidden-size", "8",
        "--layers", "1", "--max-steps", "1",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "260 windows of 100, 3 steps an epoch, 1 steps in all" in ran.stdout
    assert "  python scripts/generate.py 'my run'\n" in ran.stdout
    assert (tmp_path / "my run" / "config.json").exists()
    # Nobody reads what preparing and training say: both go on to their end.
    for script, *arguments in (
        ("prepare.py", "in", "--corpus", "other"),
        ("train.py", "--corpus", "corpus", "--run-dir", "my run", "--hidden-size", "8", "--layers",
         "1", "--max-steps", "2"),
    ):  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, SCRIPTS / script, *arguments], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == (
            "Standard output can't be written (Broken pipe): the work goes on without.\n"
        )
        assert process.wait() == 0
    assert Corpus.open(tmp_path / "other").digest == Corpus.open(tmp_path / "corpus").digest
    assert (tmp_path / "my run" / "checkpoints" / "2").exists()


def test_a_corpus_is_shown_and_checked(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "a.mid", 120)
    assert run(tmp_path, "prepare.py", "in", "--corpus", "corpus").returncode == 0
    ran = run(tmp_path, "prepare.py", "--show", "corpus", "--check", "corpus")
    assert ran.returncode == 0, ran.stderr
    assert "corpus is whole" in ran.stdout and "Most frequent tokens" in ran.stdout
    vocabulary = tmp_path / "corpus" / "vocabulary.json"
    vocabulary.write_text(vocabulary.read_text().replace("C4", "C9").replace("D4", "C4D"))
    ran = run(tmp_path, "prepare.py", "--check", "corpus")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1 and "corpus is damaged" in ran.stderr, ran.stderr
    # What it says to do helps.
    ran = run(tmp_path, "prepare.py", "in", "--corpus", "corpus", "--verify")
    assert ran.returncode == 0, ran.stderr
    assert run(tmp_path, "prepare.py", "--check", "corpus").returncode == 0


def test_preparing_can_be_stopped_and_goes_on(tmp_path: Path) -> None:
    write_song(tmp_path / "in" / "0.mid", 300)
    for number in range(1, 1500):
        shutil.copyfile(tmp_path / "in" / "0.mid", tmp_path / "in" / f"{number}.mid")
    process = subprocess.Popen(
        [sys.executable, SCRIPTS / "prepare.py", "in", "--corpus", "corpus", "--workers", "1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    streams = ".corpus.partial-*/stream.u32"
    while process.poll() is None and not any(
        stream.stat().st_size for stream in tmp_path.glob(streams)
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Stopped." in said and "Traceback" not in said
    ran = run(tmp_path, "prepare.py", "in", "--corpus", "corpus")
    assert ran.returncode == 0, ran.stderr
    assert "Going on: " in ran.stdout and "1,500 files: 1,500 used" in ran.stdout


def test_a_mistakes_code_is_the_processes(tmp_path: Path) -> None:
    for script, arguments, code in (
        ("train.py", ["--epochs", "0"], 2),
        ("prepare.py", ["nowhere", "--corpus", "c"], 1),
        ("generate.py", ["nowhere"], 1),
    ):
        ran = run(tmp_path, script, *arguments)
        assert ran.returncode == code
        assert ran.stderr.count("\n") == 1
        assert ran.stderr.startswith("Error: ")
        assert ran.stdout == ""


def test_help_explains_every_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for script, words in {
        "train.py": ["--midi-dir", "--hidden-size", "--epochs", "--precision", "--held-out"],
        "prepare.py": ["--corpus", "--scheme", "--workers", "--notes"],
        "evaluate.py": ["--json", "--count", "--corpus", "--held-out-dir", "--temperature"],
        "generate.py": ["--out", "--length", "--greedy", "--temperature", "--top-k", "--prime"],
    }.items():
        ended = run_here(tmp_path, f"{script} --help", monkeypatch=monkeypatch, capsys=capsys)
        assert ended.code == 0
        for word in words:
            assert word in ended.words


def test_without_a_compiler_training_says_so_and_goes_on(tmp_path: Path) -> None:
    write_song(tmp_path / "midi_songs" / "a.mid", 150, seed=1)
    small = ["quick", "--hidden-size", "8", "--layers", "1", "--max-steps", "1", "--held-out", "0"]
    elsewhere = {"CXX": "/no/such/compiler", "JAX_PLATFORMS": "cpu"}
    ran = run(tmp_path, "train.py", *small, **elsewhere)
    assert ran.returncode == 0, ran.stderr
    said = "Training takes about twice as long as it could: it can't be compiled with /no/such"
    assert said in ran.stdout
    asked = run(tmp_path, "train.py", *small, "--run-dir", "b", "--recurrence", "cpu", **elsewhere)
    assert asked.returncode == 1
    assert "Traceback" not in asked.stderr
    assert "--recurrence cpu: it can't be compiled with /no/such/compiler" in asked.stderr
    assert "use auto or scan" in asked.stderr
