"""What a run was started with: its corpus, vocabulary and primers, written once and verified."""

import io
import json
import uuid
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from jaxmusic.config import Config, ConfigError, differences
from jaxmusic.corpus.corpus import Corpus
from jaxmusic.data.shuffle import shuffle
from jaxmusic.data.token_map import TokenMap
from jaxmusic.data.windows import Windows
from jaxmusic.run_dir.config_file import save_config
from jaxmusic.run_dir.folder import RunDir, RunError
from jaxmusic.runtime.printable import printable
from jaxmusic.storage.atomic import refuse_link, remove_abandoned, write_atomic
from jaxmusic.storage.reading import Count, file_digest, map_array, read_json, read_verified
from jaxmusic.tokenizers.tokenizer import check_tokens, get_tokenizer
from jaxmusic.tokenizers.vocabulary import RARE, Vocabulary

MAX_PRIMERS = 1024  # windows of the corpus that generating can start from


class RunOrigin(msgspec.Struct, frozen=True):
    """A run's corpus.json: what it is trained on."""

    path: str  # of its corpus
    digest: str  # of its corpus
    tokens: Count
    songs: Count
    run: str  # identifier, also in its checkpoints
    digests: dict[str, str]  # of the vocabulary and the primers, which must match the weights

    def save(self, path: Path) -> None:
        """Write it atomically. Raises WriteError."""
        write_atomic(path, json.dumps(msgspec.structs.asdict(self), indent=2) + "\n")


def start_or_resume(
    folder: RunDir, config: Config, corpus: Corpus, token_map: TokenMap, windows: Windows
) -> None:
    """Start a run in its folder, or check that the run there can be resumed.

    Raises ConfigError naming the settings that differ; RunError for another corpus, a damaged run,
    and a folder that holds something else; WriteError where its checkpoints are a link.
    """
    folder.check()
    refuse_link(folder.checkpoints)
    remove_abandoned(folder.path)
    if folder.config.exists():
        theirs = folder.settings()
        if names := differences(config, theirs):
            raise ConfigError(
                f"{folder.path} holds a run with other settings ({', '.join(names)}): start the "
                "command with the same ones, or give another --run-dir."
            )
        about = load_origin(folder)
        if about.digest != corpus.digest:
            raise RunError(_other_corpus(folder, about, corpus))
        vocabulary, _ = load_vocabulary_and_primers(folder, theirs)
        if vocabulary != token_map.vocabulary:
            raise _damaged(folder, "vocabulary.json has other tokens than its corpus")
    else:
        about = RunOrigin(
            path=str(corpus.path.resolve()),
            digest=corpus.digest,
            tokens=len(corpus.tokens),
            songs=len(corpus.offsets) - 1,
            run=uuid.uuid4().hex,
            digests={},
        )
        # First, because it proves what the folder is if this is interrupted.
        about.save(folder.corpus)
        primers = io.BytesIO()
        np.save(primers, choose_primers(config, token_map, windows))
        write_atomic(folder.primers, primers.getvalue())
        token_map.vocabulary.save(folder.vocabulary)
        digests = {path.name: file_digest(path) for path in _digested(folder)}
        msgspec.structs.replace(about, digests=digests).save(folder.corpus)
    save_config(config, folder.config)  # last: with it the folder is a run


def _other_corpus(folder: RunDir, about: RunOrigin, corpus: Corpus) -> str:
    """Why a run can't resume with this corpus."""
    if about.path != str(corpus.path.resolve()):
        return (
            f"{folder.path} holds a run on another corpus ({about.tokens:,} tokens, from "
            f"{printable(about.path)}): give that one, or another --run-dir."
        )
    return (
        f"The songs in the corpus {printable(corpus.path)} have changed since the run "
        f"{folder.path} began ({about.tokens:,} tokens then, {len(corpus.tokens):,} now), and it "
        "can't go on with others: bring back the songs as they were, or give another --run-dir."
    )


def choose_primers(config: Config, token_map: TokenMap, windows: Windows) -> np.ndarray:
    """Choose windows of the corpus that generating can start from: (windows, window) token ids."""
    windows = windows.unpadded()
    count = min(MAX_PRIMERS, len(windows))
    chosen = shuffle(np.arange(count), len(windows), seed=config.train.seed, epoch=2**32)
    rows = windows.gather(windows.offsets(chosen))[:, :-1]
    return rows if token_map.table is None else token_map.table[0][rows]


def _damaged(folder: RunDir, what: object) -> RunError:
    return RunError(
        f"The run {folder.path} is damaged: {what}. Copy it again completely, or train anew in "
        "another folder."
    )


def load_origin(folder: RunDir) -> RunOrigin:
    """Read a run's corpus.json. Raises RunError when it is damaged."""
    return read_verified(
        folder.corpus, partial(read_json, kind=RunOrigin), partial(_damaged, folder)
    )


def _digested(folder: RunDir) -> tuple[Path, ...]:
    return (folder.vocabulary, folder.primers)


def load_vocabulary_and_primers(folder: RunDir, config: Config) -> tuple[Vocabulary, np.ndarray]:
    """Read what belongs to the run's weights. Raises RunError for damaged or foreign files."""
    get_tokenizer(config.data.scheme)  # a run whose scheme isn't installed here is not damaged
    damaged = partial(_damaged, folder)
    digests = load_origin(folder).digests
    vocabulary = read_verified(folder.vocabulary, Vocabulary.load, damaged)
    most = MAX_PRIMERS * config.data.window * 8 + 128  # at most 8 bytes an id, after a header
    primers = np.array(read_verified(folder.primers, partial(map_array, most=most), damaged))
    for path in _digested(folder):
        if read_verified(path, file_digest, damaged) != digests.get(path.name):
            raise damaged(f"{path.name} is not the one that the run began with")
    if vocabulary.scheme != config.data.scheme:
        raise damaged(f"vocabulary.json is of the scheme {vocabulary.scheme!r}")
    try:
        check_tokens((t for t in vocabulary.tokens if t != RARE), vocabulary.scheme)
    except ValueError as error:
        raise damaged(f"vocabulary.json: {error}") from None
    window = config.data.window
    if primers.ndim != 2 or primers.shape[1] != window:
        raise damaged(f"primes.npy has the shape {primers.shape}, not (any, {window})")
    if primers.min() < 0 or primers.max() >= len(vocabulary):
        raise damaged(f"primes.npy has tokens beyond a vocabulary of {len(vocabulary)}")
    return vocabulary, primers
