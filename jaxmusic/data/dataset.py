"""The dataset of a training: its corpus, token map and windows."""

from dataclasses import dataclass

import numpy as np

from jaxmusic.config import Config, ConfigError
from jaxmusic.console import Console
from jaxmusic.corpus.corpus import Corpus, CorpusError, is_deduplicated, read_metadata
from jaxmusic.corpus.summary import summarize
from jaxmusic.data.batch import BatchIndex, Sampler
from jaxmusic.data.batch_sampler import BatchSampler
from jaxmusic.data.songs.sampler import SongSampler
from jaxmusic.data.songs.windows import SongWindows
from jaxmusic.data.token_map import OUT_OF_VOCABULARY, TokenMap, make_token_map
from jaxmusic.data.windows import Windows, held_out_songs, token_ranges
from jaxmusic.distributed.processes import Processes
from jaxmusic.distributed.row_range import RowRange
from jaxmusic.errors import UserError
from jaxmusic.preparation.prepare import default_corpus_dir, prepare
from jaxmusic.runtime.printable import printable
from jaxmusic.tokenizers.tokenizer import get_tokenizer

WINDOWS_NAMED = 5  # of a step whose loss is not finite


class DataError(UserError):
    """The settings leave no window."""


@dataclass(frozen=True)
class Dataset:
    """What a training reads."""

    corpus: Corpus
    token_map: TokenMap
    windows: Windows  # to train on
    held_out: Windows | None  # of the songs held out; None: no song is

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the network distinguishes."""
        return len(self.token_map.vocabulary)

    def sampler(self, config: Config, row_range: RowRange) -> Sampler:
        """The batches of a training; `row_range` is of this process."""
        size, seed, token_map = config.train.batch_size, config.train.seed, self.token_map
        if isinstance(self.windows, SongWindows):
            return SongSampler(
                self.windows, size, seed=seed, row_range=row_range, token_map=token_map
            )
        return BatchSampler(self.windows, size, seed=seed, row_range=row_range, token_map=token_map)

    def describe(self, index: BatchIndex) -> str:
        """Names the songs in which a batch's windows start (the first few of this process)."""
        starts = index.starts[index.weights > 0]
        offsets, names = self.corpus.offsets, self.corpus.songs
        songs = np.searchsorted(offsets, starts[:WINDOWS_NAMED], side="right") - 1
        found = [
            f"{names[song]} (token {start - offsets[song]})"
            for song, start in zip(songs, starts, strict=False)
        ]
        more = f" and {len(starts) - len(found)} more" if len(starts) > len(found) else ""
        return f", on windows from {', '.join(found)}{more}"


def load_dataset(config: Config, processes: Processes, console: Console) -> Dataset:
    """Open or prepare the corpus of the settings, the same in all processes, and cut its windows.

    Raises ConfigError, CorpusError, or DataError when no window fits.
    """
    corpus = open_corpus(config, processes, console)
    processes.require_equal({"the digest of the corpus": corpus.digest})
    windows, held_out = make_windows(config, corpus, console)
    return Dataset(corpus, map_tokens(config, corpus, console), windows, held_out)


def open_corpus(config: Config, processes: Processes, console: Console) -> Corpus:
    """Open the corpus of the settings; prepare it first if they name a folder of MIDI files.

    Process 0 prepares it while the others wait; a process that doesn't find the result on its own
    disk prepares it there. Each verifies all bytes of a corpus that it didn't prepare itself.

    Raises ConfigError for a corpus of another scheme, CorpusError for one that can't be used.
    """
    corpus = _prepared(config, console) if processes.is_primary else None
    digest = processes.broadcast(lambda: corpus.digest if corpus is not None else None)
    if corpus is None:
        corpus = _found(config, digest) or _prepared(config, console)
    if processes.is_primary:
        for line in summarize(corpus):
            console.log(line)
    return corpus


def _prepared(config: Config, console: Console) -> Corpus:
    if config.data.corpus is not None:
        corpus = Corpus.open_checked(config.data.corpus, console.log)
        if corpus.vocabulary.scheme != config.data.scheme:
            raise ConfigError(
                f"--corpus {corpus.path} is of the scheme {corpus.vocabulary.scheme}, not of "
                f"--scheme {config.data.scheme}: prepare one, or give that scheme."
            )
        if config.data.deduplicate and not is_deduplicated(corpus.path):
            raise ConfigError(
                f"--deduplicate is for preparing, and the corpus {printable(corpus.path)} was "
                "prepared without it: prepare it again with prepare.py --deduplicate."
            )
        version = get_tokenizer(config.data.scheme).version
        if corpus.tokenizer_version != version:
            console.log(
                f"The corpus {printable(corpus.path)} was made by version "
                f"{corpus.tokenizer_version} of the tokenizer and is used as it is; version "
                f"{version}, this one's, may make other tokens of the same files."
            )
        return corpus
    with console:
        return prepare(
            config.data.midi_dir,
            default_corpus_dir(config.data.midi_dir, config.data.scheme),
            scheme=config.data.scheme,
            workers=config.run.workers,
            deduplicate=config.data.deduplicate,
            max_skipped_share=config.run.max_skipped_share,
            progress=lambda done, total: console.progress(done, total, "MIDI files read"),
            log=console.log,
        )


def _found(config: Config, digest: str) -> Corpus | None:
    """The corpus that process 0 prepared, if this process finds it."""
    if config.data.corpus is not None:
        return None
    folder = default_corpus_dir(config.data.midi_dir, config.data.scheme)
    about = read_metadata(folder)
    if about is None or about.digest != digest:
        return None
    try:
        return Corpus.open_checked(folder)
    except CorpusError:  # preparing logs why, and makes it anew
        return None


def make_windows(
    config: Config, corpus: Corpus, console: Console
) -> tuple[Windows, Windows | None]:
    """Windows to train on, and those of the held-out songs (None: no song is held out).

    Raises DataError when no window fits.
    """
    data = config.data
    held = np.zeros(len(corpus.offsets) - 1, bool)
    if data.held_out > 0 or data.held_out_match is not None:  # else no need of the songs' names
        held = held_out_songs(corpus.songs, data, seed=config.train.seed)

    def cut(chosen: np.ndarray) -> Windows:
        ranges = token_ranges(corpus.offsets, chosen, across_songs=data.across_songs)
        if data.carry_state:
            return SongWindows(corpus.tokens, ranges, data.window)
        return Windows(
            corpus.tokens,
            ranges,
            data.window,
            stride=data.stride,
            objective=config.model.objective,
        )

    windows = cut(~held)
    lengths = np.diff(corpus.offsets)
    cuts_songs = not data.across_songs and not data.carry_state
    if cuts_songs and (short := int((lengths <= data.window).sum())):
        console.log(f"{short:,} songs are shorter than a window and its target: not used")
    if len(windows) == 0:
        longest = int(lengths.max()) if not data.across_songs else int(lengths[~held].sum())
        raise DataError(
            f"No window fits: --window {data.window} needs {data.window + 1} tokens in one piece, "
            f"and the longest has {longest}; give more music or a smaller --window."
        )
    if not held.any():
        return windows, None
    held_out = cut(held)
    if len(held_out) == 0:
        raise DataError(
            f"{int(held.sum())} songs are held out (--held-out, --held-out-match), all too short "
            f"for a --window of {data.window}: hold out more, or give a smaller window."
        )
    console.log(f"{int(held.sum()):,} songs held out, {len(held_out):,} windows")
    return windows, held_out


def map_tokens(config: Config, corpus: Corpus, console: Console) -> TokenMap:
    """Make the token map of the settings, and log what it changes."""
    data = config.data
    token_map = make_token_map(
        corpus,
        transpose=data.transpose_range,
        min_count=data.min_count,
        extend=data.extend_vocabulary,
    )
    if token_map.rare:
        console.log(
            f"{token_map.rare:,} tokens occur fewer than {data.min_count} times and are one now: "
            f"{len(token_map.vocabulary):,} distinct"
        )
    if token_map.table is not None and len(token_map.shifts) > 1:
        leaves = token_map.table[token_map.first_random_row :] == OUT_OF_VOCABULARY
        console.log(
            f"{'Songs' if data.carry_state else 'Windows'} are transposed by {data.transpose} "
            "semitones, but for those with a token that leaves "
            f"the vocabulary ({leaves.sum() / leaves.size:.0%} of tokens and shifts)"
        )
    return token_map
