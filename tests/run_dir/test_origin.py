"""How a run begins and goes on: what its folder may hold, and which corpus it needs."""

import shutil
from pathlib import Path

import pytest
from helpers.midi_files import write_song
from helpers.preparations import tree_of

from jaxmusic.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.dataset import make_windows, map_tokens
from jaxmusic.preparation.prepare import prepare
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.run_dir.origin import start_or_resume
from jaxmusic.storage.atomic import write_atomic

SILENT = Console(silent=True)


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_song(folder / "songs" / "a.mid", 40, tokens=["C4", "D4", "E4"])
    prepare(folder / "songs", folder / "corpus", workers=1)
    return folder / "corpus"


def begin(corpus: Path, run: Path) -> None:
    """What a training does before its first step, in a new run or an old one."""
    settings = Config(
        data=DataConfig(corpus=str(corpus), window=8),
        model=ModelConfig(hidden_size=8, layers=1, dense_size=8),
        train=TrainConfig(max_steps=1, batch_size=8),
        run=RunConfig(run_dir=str(run), compilation_cache=False),
    )
    opened = Corpus.open(corpus)
    windows, _ = make_windows(settings, opened, SILENT)
    token_map = map_tokens(settings, opened, SILENT)
    start_or_resume(RunDir(run), settings, opened, token_map, windows)


@pytest.fixture
def run(corpus_dir: Path, tmp_path: Path) -> Path:
    """A run that has begun."""
    with RunDir(tmp_path / "run").acquire():
        begin(corpus_dir, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"thesis.txt": "years"}, "it holds thesis.txt. Give another folder, one that is empty"),
        ({"vocabulary.json": "[]", "metrics.jsonl": "{}"}, "it holds metrics.jsonl."),
        ({"vocabulary.json": "[]"}, "it holds vocabulary.json, but nothing in it proves that it"),
        ({"corpus.json": '{"birds": 7}'}, "it holds corpus.json, but nothing in it proves that"),
        ({"checkpoints/thesis.txt": "years"}, "it holds checkpoints/. Give another"),
        ({"samples/a.mid": "music"}, "it holds samples/. Give another"),
        ({"config.json": '{"birds": 7}'}, "config.json isn't a run's settings: it lacks"),
        ({"config.json/a": "a"}, "config.json can't be read as a run's settings: Is a directory"),
    ],
)
def test_a_run_does_not_begin_among_other_things(
    corpus_dir: Path, tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    """They are refused before anything is written there, and before anything is prepared."""
    for name, content in files.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(content)
    before = tree_of(tmp_path)
    for attempt in (
        lambda: begin(corpus_dir, tmp_path / "run"),
        lambda: RunDir(tmp_path / "run").acquire(),
    ):
        with pytest.raises(RunError) as caught:
            attempt()
        assert reason in str(caught.value)
    assert tree_of(tmp_path) == before


def test_a_run_does_not_begin_in_a_corpus(corpus_dir: Path, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(corpus_dir, tmp_path / "corpus"))
    (tmp_path / "link").symlink_to(corpus)
    before = tree_of(tmp_path)
    for path in (corpus, tmp_path / "link"):
        with pytest.raises(RunError, match="it holds a corpus. Give another folder"):
            begin(corpus_dir, path)
    assert tree_of(tmp_path) == before


def test_a_run_lets_other_files_alone(corpus_dir: Path, run: Path) -> None:
    for name in ("plots", "checkpoints"):
        (run / name).mkdir()
    (run / "plots" / "loss.png").write_bytes(b"mine")
    (run / "log.txt").symlink_to("nowhere")
    (run / "checkpoints" / "notes.txt").write_bytes(b"mine")
    before = tree_of(run)
    begin(corpus_dir, run)
    assert tree_of(run) == before


@pytest.mark.parametrize("stopped_at", range(5))
def test_a_run_that_was_stopped_as_it_began_begins_again(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    """After any of its files, or in the midst of one."""
    run = tmp_path / "run"
    written: list[str] = []

    def stop(path: Path, content: bytes | str) -> None:
        if len(written) == stopped_at:
            (run / f".jaxmusic-{'0' * 16}.partial").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        write_atomic(path, content)

    with monkeypatch.context() as patched:
        for module in ("run_dir.origin", "tokenizers.vocabulary", "run_dir.config_file"):
            patched.setattr(f"jaxmusic.{module}.write_atomic", stop)
        with RunDir(run).acquire(), pytest.raises(KeyboardInterrupt):
            begin(corpus_dir, run)
    with RunDir(run).acquire():
        begin(corpus_dir, run)
    names = ["corpus.json", "primes.npy", "vocabulary.json", "corpus.json", "config.json"]
    assert written == names[:stopped_at]
    assert {path.name for path in run.iterdir() if path.suffix != ".partial"} == set(names)


def test_songs_that_changed_since_a_run_began_are_reported_as_that(tmp_path: Path) -> None:
    run, songs, corpus = tmp_path / "run", tmp_path / "songs", tmp_path / "corpus"
    write_song(songs / "a.mid", 40, seed=0, tokens=["C4", "D4", "E4"])
    run.mkdir()

    def prepare_and_begin() -> None:
        prepare(songs, corpus, workers=1)
        begin(corpus, run)

    prepare_and_begin()
    write_song(songs / "b.mid", 25, seed=1, tokens=["C4", "D4", "E4"])
    with pytest.raises(RunError) as caught:
        prepare_and_begin()
    assert str(caught.value) == (
        f"The songs in the corpus {corpus} have changed since the run {run} began "
        "(40 tokens then, 65 now), and it can't go on with others: bring back the songs as they "
        "were, or give another --run-dir."
    )
    (songs / "b.mid").unlink()
    prepare_and_begin()
